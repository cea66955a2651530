import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.blocks.views import cut, paste, possible_views

SHAPES = st.lists(st.integers(0, 12), max_size=6).map(tuple)


@given(SHAPES, st.sampled_from([np.float32, np.int32, np.float64]))
def test_every_view_is_the_tensor_again(shape, dtype):
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    views = possible_views(shape)
    assert views[0].kind == "plain"
    assert len(set(views)) == len(views)
    for view in views:
        array = cut(values, view)
        assert array.shape == view.sizes
        assert np.shares_memory(array, values) or not values.size
        back = paste(array, shape)
        assert back.shape == shape
        assert back.dtype == dtype
        assert np.array_equal(back, values)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((), (1, 1, 1)),
        ((7,), (1, 1, 7)),
        ((0,), (0, 0, 0)),
        ((3, 0, 2), (0, 0, 0)),
        ((6, 10), (6, 1, 10)),
        ((1, 10), (1, 1, 10)),
        ((16, 8, 3, 3), (16, 8, 9)),
        ((16, 8, 1, 1), (16, 1, 8)),  # 1x1: a matrix
        ((16, 1, 3, 3), (16, 1, 9)),  # depthwise
        ((1024, 1, 512, 1), (1024, 1, 512)),
        ((1, 128, 1), (1, 1, 128)),
        ((4, 3, 2, 2, 2, 2), (4, 3, 16)),
    ],
)
def test_the_plain_view(shape, sizes):
    assert possible_views(shape)[0].sizes == sizes


def test_runs_are_pixels_of_a_line_and_groups_are_gates():
    views = possible_views((512, 784))
    assert [view.sizes for view in views if view.kind == "runs" and view.sizes[2] == 28] == [(512, 28, 28)]
    assert [view.sizes for view in views if view.kind == "groups" and view.sizes[1] == 128] == [(4, 128, 784)]
    assert [view.sizes for view in possible_views((1024, 256)) if view.sizes[0] == 4] == [(4, 256, 256)]


def test_a_filter_may_be_one_row_unless_that_is_long():
    assert [view.kind for view in possible_views((8, 16, 3, 3))] == ["plain", "rows"]
    assert [view.kind for view in possible_views((8, 1024, 64))] == ["plain"]


def test_few_views_however_large_the_tensor():
    assert max(len(possible_views((rows, 5040))) for rows in (30522, 5040, 2**20)) < 150
