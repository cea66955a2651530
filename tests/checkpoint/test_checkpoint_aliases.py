import pytest
import torch
from checkpoint_trees import assert_same, assert_same_aliasing
from torch import nn

from weightzip.checkpoint import from_object, rebuild
from weightzip.checkpoint.aliases import View, apply_view
from weightzip.errors import FormatError


def restored(tree):
    """The tree after a round trip, which is checked, and the shapes of the tensors that are stored for it."""
    checkpoint = from_object(tree)
    result = rebuild(checkpoint.layout, checkpoint.tensors)
    assert_same(tree, result)
    assert_same_aliasing(tree, result)
    return {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}


def test_tied_weights_are_stored_once():
    weight = torch.randn(6, 5)
    assert restored({"embedding": weight, "bias": torch.randn(6), "head": weight}) == {
        "embedding": (6, 5),
        "bias": (6,),
    }


def test_restored_tie_holds_for_writes():
    weight = torch.randn(6, 5)
    checkpoint = from_object({"a": weight, "b": weight.t()})
    result = rebuild(checkpoint.layout, checkpoint.tensors)
    result["a"][1, 2] = 7
    assert result["b"][2, 1] == 7


def test_transposed_tie_keeps_the_shape_of_the_contiguous_one():
    weight = torch.randn(6, 5)
    assert restored({"t": weight.t(), "w": weight}) == {"w": (6, 5)}


def test_slices_of_a_whole_are_its_views():
    weight = torch.randn(6, 5)
    assert restored({"w": weight, "row": weight[1], "column": weight[:, 2], "cut": weight[2:, 1:3]}) == {"w": (6, 5)}


def test_partial_overlap_is_one_flat_range():
    buffer = torch.randn(60)
    assert restored({"a": buffer[5:25].view(4, 5), "b": buffer[20:50].view(6, 5)}) == {"a": (45,)}


def test_elements_between_overlapping_views_are_not_stored():
    buffer = torch.full((4, 100), 7.0)
    tensors = from_object({"a": buffer[:, :2], "b": buffer[:, 1:3]}).tensors
    assert tensors["a"].count_nonzero() == 12


def test_parts_of_a_flat_buffer_stay_apart():
    buffer = torch.randn(100)
    parts = {"w": buffer[:60].view(6, 10), "b": buffer[60:66], "v": buffer[70:100].view(5, 6)}
    assert restored(parts) == {"w": (6, 10), "b": (6,), "v": (5, 6)}


def test_interleaved_columns_stay_apart():
    weight = torch.randn(6, 9)
    parts = {"q": weight[:, 0:3], "k": weight[:, 3:6], "v": weight[:, 6:9], "even": torch.randn(20)[::2]}
    assert restored(parts) == {"q": (6, 3), "k": (6, 3), "v": (6, 3), "even": (10,)}


def test_groups_in_one_range_are_told_apart():
    weight = torch.randn(6, 9)
    parts = {"a": weight[:, 0:3], "b": weight[:, 4:8], "c": weight[:, 2:4], "d": weight[:, 8:]}
    assert set(restored(parts)) == {"a", "b", "d"}


def test_recurrent_network_with_flat_weights():
    module = nn.LSTM(4, 8, 2)
    assert restored(module.state_dict()) == {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_expanded_tensor_is_stored_unexpanded():
    assert restored({"e": torch.randn(5, 1).expand(5, 10**6)[:, :7]}) == {"e": (5,)}
    assert from_object({"e": torch.ones(1).expand(10**6, 10**6)}).tensors["e"].numel() == 1


def test_sliding_windows_are_stored_once():
    assert restored({"w": torch.randn(10).unfold(0, 4, 1)}) == {"w": (10,)}


def test_channels_last_keeps_shape_and_values():
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert restored({"w": weight, "tied": weight}) == {"w": (2, 3, 4, 4)}


def test_views_as_another_dtype_are_stored_apart():
    weight = torch.randn(6)
    checkpoint = from_object({"float": weight, "bits": weight.view(torch.int32)})
    result = rebuild(checkpoint.layout, checkpoint.tensors)
    assert result["bits"].tolist() == weight.view(torch.int32).tolist()


def test_empty_and_scalar_tensors():
    buffer = torch.randn(4)
    parts = {"none": buffer[:0], "none2": buffer[2:2].view(0, 3), "first": buffer[0], "last": buffer[-1]}
    assert restored(parts) == {"none": (0,), "none2": (0, 3), "first": (), "last": ()}


def test_parameters_tied_between_model_and_list():
    module = nn.Linear(3, 2)
    tree = {"state": dict(module.named_parameters()), "all": list(module.parameters())}
    assert restored(tree) == {"state.weight": (2, 3), "state.bias": (2,)}


@pytest.mark.parametrize(
    "window",
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 2), (5, 1), 0),
        ((1 << 62, 1 << 62), (0, 0), 0),
        ((2,), (1 << 63,), 0),
        ((0,), (1,), 0),
    ],
)
def test_window_beyond_its_base_is_refused(window):
    with pytest.raises(FormatError, match="view of shape"):
        apply_view(torch.zeros(6), View(0, window))
