import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightzip.vae import UNKNOWN, Blocks

tensor_sizes = st.lists(st.integers(1, 70), min_size=1, max_size=8)
lane_lengths = st.integers(1, 40)


def numbered(sizes):
    """Blocks [n, 2] of tensors of these sizes, each block filled with one more than its number, each of a kind of its own."""
    tensor = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    numbers = torch.arange(len(tensor))
    return Blocks(numbers[:, None].float().expand(-1, 2) + 1, tensor, numbers + 1000)


def generator():
    return torch.Generator().manual_seed(0)


def perturbed(blocks, *, frames=1, copies=1, batch_size=4, noise=1.0, noisy_fraction=1.0):
    return list(
        blocks.perturbed(
            frames=frames,
            copies=copies,
            batch_size=batch_size,
            noise=noise,
            noisy_fraction=noisy_fraction,
            generator=generator(),
        )
    )


@given(tensor_sizes, lane_lengths)
def test_lanes_hold_every_block_once_and_in_order(sizes, frames):
    blocks = numbered(sizes)
    lanes = blocks.lanes(frames)
    assert lanes.shape == (sum(-(-size // frames) for size in sizes), frames)
    assert lanes[lanes >= 0].tolist() == list(range(len(blocks)))


@given(tensor_sizes, lane_lengths)
def test_a_lane_is_a_run_of_blocks_of_one_tensor_filled_up_at_its_end(sizes, frames):
    blocks = numbered(sizes)
    for lane in blocks.lanes(frames):
        present = lane[lane >= 0]
        assert lane[: len(present)].tolist() == list(range(int(present[0]), int(present[0]) + len(present)))
        assert lane[len(present) :].tolist() == [-1] * (frames - len(present))
        assert len(torch.unique(blocks.tensor[present])) == 1


@given(tensor_sizes, lane_lengths)
def test_only_the_last_lane_of_a_tensor_is_filled_up(sizes, frames):
    lanes = numbered(sizes).lanes(frames)
    assert int((lanes[:, -1] < 0).sum()) == sum(size % frames > 0 for size in sizes)


@given(tensor_sizes, lane_lengths, st.integers(1, 100))
def test_in_order_every_block_comes_once_with_what_is_known_of_it(sizes, frames, batch_size):
    blocks = numbered(sizes)
    seen = []
    for numbers, batch in blocks.in_order(frames, batch_size):
        assert batch.frames == frames
        assert len(batch.blocks) <= max(batch_size, frames)
        assert batch.present.sum() == len(numbers)
        assert torch.equal(batch.blocks[batch.present], blocks.values[numbers])
        assert torch.equal(batch.tensor[batch.present], blocks.tensor[numbers])
        assert torch.equal(batch.kind[batch.present], blocks.kind[numbers])
        assert not batch.blocks[~batch.present].any()
        seen += numbers.tolist()
    assert seen == list(range(len(blocks)))


@pytest.mark.parametrize("frames", [1, 4])
def test_no_blocks_make_no_lanes(frames):
    nothing = Blocks.alike(torch.zeros(0, 5))
    assert nothing.lanes(frames).shape == (0, frames)
    assert nothing.num_tensors == 1


def test_blocks_alike_are_of_one_tensor_of_a_kind_unknown():
    blocks = Blocks.alike(torch.zeros(3, 5))
    assert blocks.tensor.tolist() == [0, 0, 0]
    assert blocks.kind.tolist() == [UNKNOWN] * 3
    assert blocks.num_tensors == 1


def test_tensors_are_counted_by_their_largest_number():
    assert Blocks(torch.zeros(3, 2), torch.tensor([0, 4, 1]), torch.zeros(3).long()).num_tensors == 5


def test_other_numbers_in_a_batch_leave_the_rest_as_it_is():
    batch = numbered([3, 2]).batch(torch.tensor([[0, 1], [2, -1]]))
    other = batch.with_blocks(batch.blocks + 1)
    assert other.blocks.tolist() == [[2, 2], [3, 3], [4, 4], [1, 1]]
    assert other.present is batch.present
    assert other.frames == 2


@pytest.mark.parametrize(("copies", "batch_size"), [(1, 3), (4, 7), (5, 100)])
def test_each_block_comes_as_often_as_there_are_copies(copies, batch_size):
    blocks = Blocks.alike(torch.arange(10.0)[:, None].expand(10, 6) * 100)
    batches = perturbed(blocks, copies=copies, batch_size=batch_size, noisy_fraction=0.5)
    rows = torch.cat([batch.blocks for batch in batches])
    assert rows.shape == (10 * copies, 6)
    assert all(len(batch.blocks) == batch_size for batch in batches[:-1])
    which = torch.round(rows.median(dim=1).values / 100).long()
    assert torch.bincount(which, minlength=10).tolist() == [copies] * 10


def test_copies_of_one_block_differ_and_come_shuffled():
    blocks = Blocks.alike(torch.arange(10.0)[:, None].expand(10, 6) * 100)
    rows = torch.cat([batch.blocks for batch in perturbed(blocks, copies=8, batch_size=16)])
    assert len(torch.unique(rows, dim=0)) == 80
    which = torch.round(rows.mean(dim=1) / 100).long()
    assert which.tolist() != sorted(which.tolist())
    assert len(torch.unique(which[:16])) > 5


def test_the_same_generator_draws_the_same_copies():
    blocks = Blocks.alike(torch.randn(5, 6))
    first, second = (torch.cat([batch.blocks for batch in perturbed(blocks, copies=3)]) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_copies_have_the_noise_that_is_asked_for(fraction):
    blocks = Blocks.alike(torch.zeros(50, 400))
    noise = torch.cat([batch.blocks for batch in perturbed(blocks, copies=4, noise=0.3, noisy_fraction=fraction)])
    touched = noise[noise != 0]
    assert len(touched) / noise.numel() == pytest.approx(fraction, abs=0.01)
    assert float(touched.std()) == pytest.approx(0.3, rel=0.02)


@given(tensor_sizes, st.integers(2, 40), st.integers(1, 3))
def test_lanes_are_perturbed_whole(sizes, frames, copies):
    """Each as often as there are copies, its blocks in order, with what is known of them."""
    blocks = numbered(sizes)
    seen = []
    for batch in perturbed(blocks, frames=frames, copies=copies, noise=0.01):
        assert len(batch.blocks) <= 4 * frames
        numbers = torch.where(batch.present, torch.round(batch.blocks.mean(dim=1)) - 1, -1).long()
        assert torch.equal(batch.kind[batch.present], numbers[batch.present] + 1000)
        assert torch.equal(batch.tensor[batch.present], blocks.tensor[numbers[batch.present]])
        seen += numbers.view(-1, frames).tolist()
    assert sorted(seen) == sorted(blocks.lanes(frames).tolist() * copies)
