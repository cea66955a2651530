import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.baselines import MagnitudePruning
from weightzip.baselines.packing import unpack
from weightzip.baselines.reader import Reader
from weightzip.baselines.sparse import position_bytes, read_positions


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.987])
def test_exactly_the_largest_weights_survive_unchanged(recode, gaussian, scope, sparsity):
    restored = recode(MagnitudePruning(sparsity, scope, "float32"), gaussian)["weight"]
    kept = restored != 0
    assert int(kept.sum()) == 100_000 - round(sparsity * 100_000)
    assert torch.equal(restored[kept], gaussian["weight"][kept])
    assert gaussian["weight"][~kept].abs().max() <= restored[kept].abs().min() if sparsity else kept.all()


def test_survivors_in_half_precision_are_rounded_and_nothing_else(recode, gaussian):
    exact = recode(MagnitudePruning(0.8, precision="float32"), gaussian)["weight"]
    assert torch.equal(recode(MagnitudePruning(0.8, precision="float16"), gaussian)["weight"], exact.half().float())


def test_global_pruning_ranks_all_layers_together_and_layer_pruning_does_not(recode, gaussian):
    tensors = {"loud": gaussian["weight"] * 100, "quiet": gaussian["weight"].clone()}
    together = recode(MagnitudePruning(0.5, "global"), tensors)
    apart = recode(MagnitudePruning(0.5, "layer"), tensors)
    assert together["loud"].count_nonzero() > 90_000
    assert together["loud"].count_nonzero() + together["quiet"].count_nonzero() == 100_000
    assert apart["loud"].count_nonzero() == apart["quiet"].count_nonzero() == 50_000


def test_equal_magnitudes_are_pruned_to_the_same_count(recode):
    restored = recode(MagnitudePruning(0.75), {"weight": torch.ones(40, 10)})["weight"]
    assert restored.count_nonzero() == 100


def test_weights_that_are_zero_already_are_not_stored(section_bytes):
    weight = torch.zeros(100, 100)
    weight[::10, ::10] = 1.5
    assert section_bytes(MagnitudePruning(0.0), {"weight": weight}) < 100


def test_the_size_is_that_of_the_values_and_the_entropy_of_the_mask(section_bytes, gaussian):
    num_kept, sparsity = 10_000, 0.9
    mask_bits = -(sparsity * np.log2(sparsity) + (1 - sparsity) * np.log2(1 - sparsity)) * 100_000
    values_and_bias = 4 * (num_kept + 200)
    size = section_bytes(MagnitudePruning(sparsity, precision="float32"), gaussian)
    assert 0.8 * values_and_bias + mask_bits / 8 < size < values_and_bias + 1.06 * mask_bits / 8


@settings(deadline=None)
@given(st.integers(0, 2000), st.sampled_from([0.0, 0.001, 0.01, 0.3, 0.9, 1.0]), st.integers(0, 2**32))
def test_positions_round_trip(size, density, seed):
    mask = np.random.default_rng(seed).random(size) < density
    reader = Reader("any", position_bytes(mask))
    assert np.array_equal(read_positions(reader, size), np.flatnonzero(mask))
    reader.finish()


@pytest.mark.parametrize("last", [254, 255, 256, 509, 510, 511, 9999])
def test_gaps_around_the_filler_round_trip(last):
    mask = np.zeros(10_000, np.bool_)
    mask[last] = True
    assert read_positions(Reader("any", position_bytes(mask)), len(mask)).tolist() == [last]


def test_each_form_of_positions_is_chosen_where_it_is_cheaper():
    rng = np.random.default_rng(0)
    forms = {}
    for density in (0.003, 0.5):
        block = Reader("any", position_bytes(rng.random(100_000) < density)).block()
        forms[density] = unpack(block, "any", at_most=100_001)[0]
    assert forms == {0.003: 1, 0.5: 0}, "gaps where few survive, a bitmap where half do"
