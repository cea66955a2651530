import pytest
import torch

from weightzip.scan.faults import CLEAN, FAULTS, FLIPPED_BITS, damage, inject, untrained
from weightzip.scan.ranges import SIZE, Ranges


def altered(before, after, ranges):
    """Which blocks differ in any bit, bool [n]."""
    found = torch.zeros(len(ranges), dtype=torch.bool)
    for block in range(len(ranges)):
        name = ranges.names[ranges.tensor[block]]
        place = slice(int(ranges.start[block]), int(ranges.end[block]))
        old, new = (tensors[name].reshape(-1)[place].contiguous().view(torch.uint8) for tensors in (before, after))
        found[block] = not torch.equal(old, new)
    return found


@pytest.mark.parametrize("kind", range(len(FAULTS)), ids=FAULTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.float64], ids=str)
def test_a_fault_changes_the_blocks_it_says_and_no_other(state, kind, dtype):
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    ranges = Ranges.of(tensors)
    labels = torch.full((len(ranges),), CLEAN)
    labels[[0, 17, len(ranges) - 1]] = kind  # the last one is not full
    damaged = damage(tensors, labels, untrained(tensors, 1), torch.Generator().manual_seed(0))
    assert torch.equal(altered(tensors, damaged.tensors, ranges), labels == kind)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in damaged.tensors.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()
    }


def test_a_few_bits_are_flipped(state):
    labels = torch.full((len(Ranges.of(state)),), CLEAN)
    labels[3] = FAULTS.index("bit_flips")
    damaged = damage(state, labels, {}, torch.Generator().manual_seed(0)).tensors["0.weight"]
    flipped = state["0.weight"].view(torch.int32) ^ damaged.view(torch.int32)
    assert sum(f"{word & 0xFFFFFFFF:b}".count("1") for word in flipped.flatten().tolist()) == FLIPPED_BITS


def test_signs_are_flipped_and_nothing_else(state):
    labels = torch.full((len(Ranges.of(state)),), CLEAN)
    labels[3] = FAULTS.index("sign_flips")
    damaged = damage(state, labels, {}, torch.Generator().manual_seed(0)).tensors["0.weight"]
    assert torch.equal(damaged.abs(), state["0.weight"].abs())
    assert 16 < int((damaged != state["0.weight"]).sum()) < 48


def test_what_is_swapped_comes_from_another_tensor(state):
    labels = torch.full((len(Ranges.of(state)),), CLEAN)
    labels[3] = FAULTS.index("swapped")
    damaged = damage(state, labels, {}, torch.Generator().manual_seed(0)).tensors["0.weight"]
    block = damaged.reshape(-1)[3 * SIZE : 4 * SIZE]
    others = torch.cat([state[name].reshape(-1) for name in ("0.bias", "2.weight", "2.bias")])
    assert bool((others.unfold(0, SIZE, 1) == block).all(1).any())


def test_kinds_are_injected_in_equal_shares(state):
    damaged = inject(state, untrained(state, 1), share=0.1, seed=3)
    counts = torch.bincount(damaged.labels[damaged.labels != CLEAN], minlength=len(FAULTS))
    assert counts.tolist() == [round(0.1 * len(damaged.labels) / len(FAULTS))] * len(FAULTS)
    assert torch.equal(inject(state, untrained(state, 1), share=0.1, seed=3).labels, damaged.labels)
    assert not torch.equal(inject(state, untrained(state, 1), share=0.1, seed=4).labels, damaged.labels)


def test_the_original_stays_as_it_is(state):
    before = {name: tensor.clone() for name, tensor in state.items()}
    inject(state, untrained(state, 1), share=0.5, seed=0)
    assert all(torch.equal(before[name], state[name]) for name in state)
