import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightzip.blocks import Chunks, cut, paste
from weightzip.errors import FormatError
from weightzip.interface import TensorSpec

SHAPES = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6)


def specs_of(tensors):
    return [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]


@given(SHAPES, st.integers(1, 40))
def test_paste_undoes_cut(shapes, chunk_size):
    tensors = {str(k): torch.randn(shape) for k, shape in enumerate(shapes)}
    chunks = cut(tensors, chunk_size)
    num_weights = sum(tensor.numel() for tensor in tensors.values())
    assert chunks.values.shape == (-(-num_weights // chunk_size), chunk_size)
    assert chunks.padding == chunks.values.numel() - num_weights
    assert 0 <= chunks.padding < chunk_size
    restored = paste(chunks, specs_of(tensors))
    assert list(restored) == list(tensors)
    assert all(torch.equal(restored[name], tensor) for name, tensor in tensors.items())


def test_chunks_run_across_tensors_and_the_last_is_zero_padded():
    chunks = cut({"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a": torch.tensor([5.0])}, chunk_size=3)
    assert chunks.values.tolist() == [[1, 2, 3], [4, 5, 0]]
    assert chunks.padding == 1


def test_a_sequence_that_fits_is_not_padded():
    chunks = cut({"a": torch.ones(6)}, chunk_size=3)
    assert (tuple(chunks.values.shape), chunks.padding) == ((2, 3), 0)


def test_the_papers_chunks_of_its_fully_connected_network():
    """185,300 weights in 2,048-long chunks: 91 chunks, 1,068 zeros."""
    chunks = cut({"weights": torch.zeros(185_300)}, chunk_size=2048)
    assert (tuple(chunks.values.shape), chunks.padding) == ((91, 2048), 1068)


def test_what_is_cut_is_copied_in_reading_order_whatever_its_strides():
    tensor = torch.arange(6.0).reshape(2, 3).T
    assert cut({"a": tensor}, 6).values.tolist() == [[0, 3, 1, 4, 2, 5]]


def test_other_floats_become_float32():
    assert (
        cut({"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.ones(2, dtype=torch.float64)}, 4).values.dtype
        == torch.float32
    )


def test_tensors_pasted_share_no_memory():
    chunks = cut({"a": torch.zeros(2), "b": torch.zeros(2)}, 4)
    restored = paste(chunks, specs_of({"a": torch.zeros(2), "b": torch.zeros(2)}))
    restored["a"].fill_(1)
    assert not restored["b"].any()
    assert not chunks.values.any()


@pytest.mark.parametrize("sizes", [(3,), (5,), (2, 3), ()])
def test_tensors_that_do_not_fill_the_chunks_are_refused(sizes):
    specs = [TensorSpec(str(k), (size,), "float32") for k, size in enumerate(sizes)]
    with pytest.raises(FormatError, match=f"hold 4 weights, but the tensors have {sum(sizes)}"):
        paste(Chunks(torch.zeros(2, 3), padding=2), specs)
