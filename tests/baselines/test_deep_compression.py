import numpy as np
import pytest
import torch

from weightzip.baselines import DeepCompression, MagnitudePruning


def entropy_bits(symbols):
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_same_weights_survive_as_in_pruning_and_share_few_values(recode, gaussian, scope):
    tensors = {"first": gaussian["weight"], "second": 2 * gaussian["weight"][:50]}
    pruned = recode(MagnitudePruning(0.8, scope), tensors)
    restored = recode(DeepCompression(0.8, 3, scope), tensors)
    for name in tensors:
        assert torch.equal(restored[name] != 0, pruned[name] != 0)
        assert len(restored[name].unique()) <= 8 + 1


def test_the_codebook_is_fitted_to_the_survivors(recode, gaussian):
    restored = recode(DeepCompression(0.8, 5), gaussian)["weight"]
    kept = restored != 0
    error = (restored - gaussian["weight"])[kept].square().mean() / gaussian["weight"][kept].square().mean()
    assert error < 0.002


def test_without_pruning_and_with_all_entries_little_is_lost(recode, gaussian):
    restored = recode(DeepCompression(0.0, 8), gaussian)["weight"]
    assert (restored - gaussian["weight"]).square().mean() < 5e-5


def test_a_layer_without_survivors_is_all_zero(recode, gaussian):
    restored = recode(DeepCompression(0.5), {"loud": gaussian["weight"], "quiet": gaussian["weight"] / 1e9})
    assert restored["quiet"].count_nonzero() < 10
    assert (recode(DeepCompression(0.5), {"zero": torch.zeros(20, 20)})["zero"] == 0).all()


def test_the_size_is_the_entropy_of_gaps_and_indices(recode, section_bytes, gaussian):
    weight = {"weight": gaussian["weight"]}
    restored = recode(DeepCompression(0.9, 4), weight)["weight"].flatten().numpy()
    positions = np.flatnonzero(restored)
    ideal = (entropy_bits(np.diff(positions)) + entropy_bits(restored[positions])) / 8
    assert ideal < section_bytes(DeepCompression(0.9, 4), weight) < 1.03 * ideal + 150
