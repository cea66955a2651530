import pytest
import torch

from weightzip.vae.perturb import perturb, perturbed_batches


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_noise_touches_the_asked_fraction_and_leaves_the_rest_exactly(fraction):
    chunks = torch.randn(50, 2000)
    noisy = perturb(chunks, noise=0.3, noisy_fraction=fraction, generator=generator())
    touched = noisy != chunks
    assert float(touched.float().mean()) == pytest.approx(fraction, abs=0.005)
    if fraction:
        deviation = (noisy - chunks)[touched]
        assert float(deviation.std()) == pytest.approx(0.3, rel=0.02)
        assert float(deviation.mean()) == pytest.approx(0, abs=0.005)


def test_the_chunks_are_left_as_they_are():
    chunks = torch.ones(3, 4)
    perturb(chunks, noise=1.0, noisy_fraction=1.0, generator=generator())
    assert torch.equal(chunks, torch.ones(3, 4))


def test_without_noise_nothing_changes():
    chunks = torch.randn(3, 4)
    assert torch.equal(perturb(chunks, noise=0.0, noisy_fraction=1.0, generator=generator()), chunks)


@pytest.mark.parametrize(("copies", "batch_size"), [(1, 3), (4, 7), (5, 100)])
def test_each_chunk_comes_as_often_as_there_are_copies(copies, batch_size):
    chunks = torch.arange(10.0)[:, None].expand(10, 6) * 100
    batches = list(
        perturbed_batches(chunks, copies=copies, batch_size=batch_size, noise=1.0, noisy_fraction=0.5, generator=generator())
    )
    rows = torch.cat(batches)
    assert rows.shape == (10 * copies, 6)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    which = torch.round(rows.median(dim=1).values / 100).long()
    assert torch.bincount(which, minlength=10).tolist() == [copies] * 10


def test_copies_of_one_chunk_differ_and_come_shuffled():
    chunks = torch.arange(10.0)[:, None].expand(10, 6) * 100
    rows = torch.cat(
        list(perturbed_batches(chunks, copies=8, batch_size=16, noise=1.0, noisy_fraction=1.0, generator=generator()))
    )
    assert len(torch.unique(rows, dim=0)) == 80
    which = torch.round(rows.mean(dim=1) / 100).long()
    assert which.tolist() != sorted(which.tolist())
    assert len(torch.unique(which[:16])) > 5


def test_the_same_generator_draws_the_same_copies():
    chunks = torch.randn(5, 6)
    first, second = (
        torch.cat(list(perturbed_batches(chunks, copies=3, batch_size=4, noise=1.0, noisy_fraction=0.5, generator=generator())))
        for _ in range(2)
    )
    assert torch.equal(first, second)
