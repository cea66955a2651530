import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightzip.scan.elements import in_blocks
from weightzip.scan.ranges import SIZE, Ranges, as_matrix

SHAPES = st.lists(st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=5)


@given(SHAPES)
def test_blocks_cover_every_element_once(shapes):
    tensors = {str(number): torch.zeros(shape) for number, shape in enumerate(shapes)}
    ranges = Ranges.of(tensors)
    covered = {name: torch.zeros(tensor.numel()) for name, tensor in tensors.items()}
    for tensor, start, end in zip(ranges.tensor.tolist(), ranges.start.tolist(), ranges.end.tolist(), strict=True):
        assert 0 < end - start <= SIZE
        covered[ranges.names[tensor]][start:end] += 1
    assert all(bool((count == 1).all()) for count in covered.values())


def test_only_floating_point_tensors_have_blocks():
    tensors = {"ids": torch.arange(100), "mask": torch.ones(64) > 0, "half": torch.zeros(65, dtype=torch.float16)}
    assert Ranges.of(tensors).names == ("half",)
    assert len(Ranges.of(tensors)) == 2


@given(st.integers(1, 200))
def test_blocks_are_filled_up_by_their_own_elements(count):
    blocks = in_blocks(torch.arange(count))
    assert blocks.shape == (-(-count // SIZE), SIZE)
    assert torch.equal(blocks.reshape(-1)[:count], torch.arange(count))
    assert set(blocks[-1].tolist()) == set(range((len(blocks) - 1) * SIZE, count))


@pytest.mark.parametrize(
    ("shape", "matrix"), [((), (1, 1)), ((7,), (1, 7)), ((64, 3, 3, 3), (64, 27)), ((4, 1, 5, 5), (20, 5))]
)
def test_tensors_as_matrices(shape, matrix):
    assert as_matrix(shape) == matrix
