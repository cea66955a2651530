import pytest
import torch

from weightzip.vae.perturb import perturb


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
