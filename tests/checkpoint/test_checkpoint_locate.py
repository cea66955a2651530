import pytest
import torch
from checkpoint_trees import bits, trees
from hypothesis import given, settings

from weightzip.checkpoint import apply_view, from_object, locate, specs_of, state_dict, written_bytes
from weightzip.errors import FormatError
from weightzip.interface import TensorSpec

SHARED = torch.arange(24.0)


@settings(max_examples=80)
@given(trees())
def test_every_tensor_is_where_it_is_said_to_be(tree):
    checkpoint = from_object(tree)
    expected = state_dict(checkpoint.layout, checkpoint.tensors)
    places = locate(checkpoint.layout, specs_of(checkpoint.tensors))
    assert list(places) == list(expected)
    for key, place in places.items():
        tensor = apply_view(checkpoint.tensors[place.base], place.view)
        assert place.shape == tuple(tensor.shape)
        assert (tensor.dtype, tensor.shape, bits(tensor)) == (expected[key].dtype, expected[key].shape, bits(expected[key]))


def test_one_tensor_of_a_slice_of_memory():
    """A base need not begin where its storage begins."""
    buffer = torch.arange(30.0)
    checkpoint = from_object({"w": SHARED, "part": SHARED[3:9]})
    place = locate(checkpoint.layout, specs_of(checkpoint.tensors))["part"]
    assert apply_view(buffer[6:], place.view).tolist() == [9, 10, 11, 12, 13, 14]


def test_places_need_tensors_that_fit():
    checkpoint = from_object({"w": SHARED, "part": SHARED[3:9]})
    with pytest.raises(FormatError, match="does not fit its tensor of 5 elements"):
        locate(checkpoint.layout, [TensorSpec("w", (5,), "float32")])
    with pytest.raises(FormatError, match="1 tensors where there are 2"):
        locate(checkpoint.layout, [TensorSpec("w", (24,), "float32"), TensorSpec("v", (24,), "float32")])


def test_places_of_tensors_larger_than_any_memory():
    layout = from_object({"a": torch.ones(1), "b": torch.ones(1)}).layout
    specs = [TensorSpec("a", (1 << 50,), "complex128"), TensorSpec("b", (1 << 50,), "complex128")]
    assert locate(layout, specs)["b"].shape == (1 << 50,)
    assert written_bytes(layout, specs, "safetensors") == written_bytes(layout, specs, "torch") == 1 << 55
