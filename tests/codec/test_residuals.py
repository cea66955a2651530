import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weightzip.codec.residuals import Arrangement
from weightzip.interface import TensorSpec

HALF_OCTAVE = math.log(2)  # of the deviation, as a log variance


def specs(*shapes):
    return [TensorSpec(f"w{number}", shape, "float32") for number, shape in enumerate(shapes)]


def log_variance(*half_octaves):
    """Of deviations that are so many half octaves above 1."""
    return torch.tensor(half_octaves, dtype=torch.float64) * HALF_OCTAVE


def test_by_tensor_arrays_are_plain_views():
    arrangement = Arrangement.of("tensors", specs((2, 3), (4,), (0, 5), (2, 2, 3, 1)))
    assert arrangement.shapes == [(2, 1, 3), (1, 1, 4), (2, 2, 3)]
    values = np.arange(22, dtype=np.float32)
    first, second, third = arrangement.arrays(values)
    assert (first.reshape(-1).tolist(), second.reshape(-1).tolist()) == ([0, 1, 2, 3, 4, 5], [6, 7, 8, 9])
    assert third[1, 0].tolist() == [16, 17, 18]


def test_by_class_weights_of_one_deviation_stand_together():
    arrangement = Arrangement.of("classes", specs((6,)), log_variance(0, 2, 0, 2, 4, 0), [0])
    assert arrangement.shapes == [(1, 1, 3), (1, 1, 2), (1, 1, 1)]  # from the smallest deviation on
    arrays = arrangement.arrays(np.array([1, 2, 3, 4, 5, 6], np.float32))
    assert [array.reshape(-1).tolist() for array in arrays] == [[1, 3, 6], [2, 4], [5]]


def test_a_class_is_a_deviation_in_steps():
    """The first tensor's step is an octave finer, so its residuals are of twice as many steps."""
    arrangement = Arrangement.of("classes", specs((2,), (2,)), log_variance(0, 2, 2, 4), [-4, 0])
    arrays = arrangement.arrays(np.array([1, 2, 3, 4], np.float32))
    assert [array.reshape(-1).tolist() for array in arrays] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(("quarters", "number"), [(0, 1), (1, 1), (2, 2), (3, 2), (-1, 2), (-2, 2)])
def test_a_class_is_half_an_octave_wide(quarters, number):
    """Of quarters 0 and 1 there is one class, of 2 and 3 the next, of -2 and -1 the one before."""
    arrangement = Arrangement.of("classes", specs((2,)), log_variance(0, quarters / 2), [0])
    assert len(arrangement.shapes) == number


def test_deviations_are_cut_where_they_are_beyond_all_reason():
    arrangement = Arrangement.of("classes", specs((4,)), log_variance(-1000, -40, 40, 1000), [0])
    assert arrangement.shapes == [(1, 1, 2), (1, 1, 2)]


def test_steps_as_far_off_as_they_may_be():
    arrangement = Arrangement.of("classes", specs((1,), (1,)), log_variance(40, -40), [-1600, 1600])
    assert [array.item() for array in arrangement.arrays(np.array([1, 2], np.float32))] == [2, 1]


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.integers(-(2**31) + 1, 2**31 - 1)), min_size=1, max_size=40),
    st.integers(-1600, 1600),
    st.data(),
)
def test_points_come_back_in_order(weights, code, data):
    variances, points = zip(*weights, strict=True)
    first = data.draw(st.integers(0, len(weights)))
    shapes = specs((first,), (len(weights) - first,))
    sequence = np.array(points, np.int32)
    for arrangement in (
        Arrangement.of("tensors", shapes),
        Arrangement.of("classes", shapes, torch.tensor(variances, dtype=torch.float64), [0, code]),
    ):
        arrays = arrangement.arrays(sequence)
        assert [array.shape for array in arrays] == arrangement.shapes
        assert np.array_equal(arrangement.sequence(arrays), sequence)
