import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.quantise import MAX_CLASSES, Scales, fit_scales

MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12), elements=st.floats(-1e6, 1e6, width=32)
)


def separable(rows, columns, seed=0):
    """Gaussian values whose deviation is rows[i] * columns[j], in steps."""
    noise = np.random.default_rng(seed).standard_normal((len(rows), len(columns)))
    return (noise * np.outer(rows, columns)).astype(np.float32)


@given(MATRICES)
def test_any_matrix_has_classes_within_range(values):
    classes = fit_scales(values).classes()
    assert classes.shape == values.shape
    assert classes.dtype == np.uint8
    assert classes.size == 0 or classes.max() < MAX_CLASSES


def test_a_separable_matrix_is_classed_by_its_deviations():
    rows, columns = 2.0 ** np.linspace(-1, 3, 300), 2.0 ** np.linspace(-1, 2, 200)
    classes = fit_scales(separable(rows, columns)).classes()
    expected = np.clip(np.rint(2 * np.log2(np.outer(rows, columns))) + 6, 0, MAX_CLASSES - 1)  # half octaves; 6 is one step
    assert np.abs(classes.astype(int) - expected).max() <= 1
    assert (classes == expected).mean() > 0.5


def test_a_step_is_the_class_that_a_deviation_of_one_has():
    assert (fit_scales(np.ones((8, 8), np.float32)).classes() == 6).all()
    assert (fit_scales(np.full((8, 8), 4, np.float32)).classes() == 10).all()


@pytest.mark.parametrize(
    ("rows", "columns", "uses"),
    [
        (np.ones(200), np.ones(200), (False, False)),
        (2.0 ** np.linspace(-2, 4, 200), np.ones(200), (True, False)),
        (np.ones(200), 2.0 ** np.linspace(-2, 4, 200), (False, True)),
        (2.0 ** np.linspace(-2, 4, 200), 2.0 ** np.linspace(-2, 4, 200), (True, True)),
    ],
    ids=["none", "row", "column", "both"],
)
def test_a_side_that_does_not_pay_is_dropped(rows, columns, uses):
    scales = fit_scales(separable(rows, columns))
    assert (len(np.unique(scales.row)) > 1, len(np.unique(scales.column)) > 1) == uses


def test_too_few_values_do_not_pay_for_scales():
    scales = fit_scales(separable(2.0 ** np.linspace(-1, 1, 50), np.ones(1)))
    assert len(np.unique(scales.row)) == 1


def test_all_zero():
    scales = fit_scales(np.zeros((5, 7), np.float32))
    assert (scales.classes() == 0).all()


def test_a_row_of_zeros_among_others():
    values = separable(np.ones(100), np.ones(400))
    values[3] = 0
    assert (fit_scales(values).classes()[3] == 0).all()


def test_classes_are_sums_that_stay_in_range():
    scales = Scales(np.array([-100, 0, 5, 2**31 - 1], np.int32), np.array([0, 2**31 - 1], np.int32))
    assert scales.classes().tolist() == [[0, 23], [0, 23], [5, 23], [23, 23]]
