import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.entropy.magnitudes import MAX_CLASSES
from weightzip.errors import FormatError
from weightzip.quantise import axes
from weightzip.quantise.axes import (
    CLASS_OF_ONE_STEP,
    AxisScales,
    axis_integers,
    axis_scales,
    count_told,
    fit_axis_scales,
)

ARRAYS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=9), elements=st.floats(-1e6, 1e6, width=32)
)
RISE = 2.0 ** np.linspace(-2, 2, 40)


def separable(first, second, third, seed=0):
    """Gaussian values of deviation first[i] * second[j] * third[k], in fine steps."""
    noise = np.random.default_rng(seed).standard_normal((len(first), len(second), len(third)))
    return (noise * np.einsum("i,j,k->ijk", first, second, third)).astype(np.float32)


def scales_of(*codes):
    return AxisScales(tuple(np.array(each, np.int32) for each in codes))


def through_integers(scales):
    modes, told = axis_integers(scales)
    assert count_told(modes, scales.shape) == len(told)
    return axis_scales(modes, told, scales.shape)


@given(ARRAYS)
def test_any_array_has_classes_within_range_that_come_back(values):
    scales = fit_axis_scales(values)
    classes = scales.classes()
    assert scales.shape == values.shape
    assert classes.shape == (values.size,)
    assert classes.dtype == np.uint8
    assert classes.max(initial=0) < MAX_CLASSES
    again = through_integers(scales)
    assert all(np.array_equal(a, b) for a, b in zip(again.codes, scales.codes, strict=True))
    assert np.array_equal(again.classes(), classes)


def test_a_separable_array_is_classed_by_its_deviations():
    sides = 2.0 ** np.linspace(-1, 2, 60), 2.0 ** np.linspace(1, -1, 30), 2.0 ** np.linspace(-0.5, 1.5, 40)
    classes = fit_axis_scales(separable(*sides)).classes().astype(int)
    exact = 4 * np.log2(np.einsum("i,j,k->ijk", *sides)).reshape(-1) + CLASS_OF_ONE_STEP
    off = classes - exact
    assert np.abs(off).max() < 2.5  # three roundings of a quarter octave, and what a few hundred values tell
    assert np.abs(off.mean()) < 0.25
    assert np.sqrt(np.square(off).mean()) < 0.8


def test_a_deviation_of_one_step_has_its_class():
    for deviation, expected in ((1.0, 24), (2.0, 28), (0.5, 20), (2.0**0.25, 25)):
        values = separable(np.full(200, deviation), np.ones(1), np.ones(200))
        assert np.unique(fit_axis_scales(values).classes()).tolist() == [expected]


@pytest.mark.parametrize("paying", list(itertools.product([False, True], repeat=3)), ids=str)
def test_an_axis_that_does_not_pay_costs_nothing(paying):
    scales = fit_axis_scales(separable(*(RISE if pays else np.ones(40) for pays in paying)))
    assert tuple(len(np.unique(codes)) > 1 for codes in scales.codes) == paying
    modes, told = axis_integers(scales)
    assert len(modes) == 6
    assert len(told) == 40 * sum(paying)
    assert count_told(modes, (40, 40, 40)) == len(told)


@pytest.mark.parametrize(("others", "unit"), [(200, 1), (96, 1), (95, 2), (24, 2), (23, 4), (8, 4)])
def test_a_code_that_few_latents_share_is_told_coarsely(others, unit):
    """Codes are multiples of the unit, and their spread is the deviations' all the same."""
    rise = 2.0 ** np.linspace(-4, 4, 400)
    codes = fit_axis_scales(separable(rise, np.ones(1), np.ones(others))).codes[0]
    assert len(np.unique(codes)) > 10 / unit
    assert np.gcd.reduce(codes) == unit
    fitted = np.polyfit(np.arange(400), codes, 1)
    assert fitted[0] * 399 == pytest.approx(32, rel=0.06)


def test_what_rounding_an_axis_coarsely_loses_goes_to_the_others():
    """Codes of 1 and -3 in units of 4 become 0 and -4, one too low on average: the next axis makes up for it."""
    exact = np.full(8, 10.0), np.zeros(1), np.tile([1.0, 1.0, 1.0, -3.0], 100)
    first, second, third = axes._codes(tuple(2.0 ** (codes / 2) for codes in exact), (8, 1, 400))
    assert np.unique(third).tolist() == [-4, 0]
    assert second.tolist() == [1]
    assert np.unique(first).tolist() == [10]


def test_too_few_values_do_not_pay_for_scales():
    scales = fit_axis_scales(separable(2.0 ** np.linspace(-0.5, 0.5, 50), np.ones(1), np.ones(1)))
    assert all(len(np.unique(codes)) == 1 for codes in scales.codes)


def test_all_zero_is_the_bottom_class():
    assert (fit_axis_scales(np.zeros((5, 3, 7), np.float32)).classes() == 0).all()


def test_a_row_of_zeros_among_others():
    values = separable(np.ones(60), np.ones(4), np.ones(100))
    values[3] = 0
    classes = fit_axis_scales(values).classes().reshape(values.shape)
    assert (classes[3] == 0).all()
    assert (np.abs(classes[4:].astype(int) - CLASS_OF_ONE_STEP) <= 1).all()


def test_huge_values_have_the_top_class():
    values = separable(np.full(30, 2.0**28), np.ones(1), np.ones(100))
    assert (fit_axis_scales(values).classes() == MAX_CLASSES - 1).all()


@pytest.mark.parametrize("shape", [(0, 0, 0), (0, 3, 2), (2, 0, 3), (3, 2, 0)])
def test_no_values(shape):
    scales = fit_axis_scales(np.zeros(shape, np.float32))
    assert scales.shape == shape
    assert scales.classes().size == 0
    assert through_integers(scales).shape == shape


def test_classes_are_sums_that_stay_in_range():
    scales = scales_of([-100, 0, 5, 2**31 - 1], [0, -(2**31)], [1, 60])
    assert scales.classes().reshape(4, 2, 2)[:, 0].tolist() == [[0, 0], [25, 63], [30, 63], [63, 63]]
    assert (scales.classes().reshape(4, 2, 2)[:3, 1] == 0).all()


@given(st.lists(st.integers(-250, 250), max_size=30), st.lists(st.integers(-9, 9), max_size=8), st.integers(-250, 250))
def test_codes_come_back(first, second, level):
    """Multiples of 4, which every unit divides; constant, rising and irregular ones."""
    scales = scales_of([4 * code for code in first], [4 * code for code in second], [4 * level] * 11)
    again = through_integers(scales)
    assert all(np.array_equal(a, b) for a, b in zip(again.codes, scales.codes, strict=True))


def test_smooth_codes_are_told_by_their_differences():
    smooth, rough = np.arange(0, 400, 4), np.random.default_rng(0).integers(-3, 4, 100) * 4
    for codes, mode in ((smooth, 2), (rough, 1), (np.full(100, 8), 0)):
        modes, told = axis_integers(scales_of(codes, [0], [0] * 100))
        assert modes[0] == mode
        assert len(told) == (100 if mode else 0)
    _, told = axis_integers(scales_of(smooth, [0], [0] * 100))
    assert len(set(told)) <= 2


def test_more_scales_than_the_latents_allow_are_neither_made_nor_read():
    modes = [0, 0, 0, 0, 1, 0]
    assert count_told(modes, (1, 1, 4096)) == count_told(modes, (8, 1, 4096)) == 4096
    assert count_told(modes, (8, 1, 5000)) == 5000
    for shape in ((1, 1, 4097), (7, 1, 5000), (1, 1, 2**40)):
        with pytest.raises(FormatError, match="more scales than its size allows"):
            count_told(modes, shape)
    wide = 2.0 ** np.random.default_rng(0).uniform(-10, 20, (1, 1, 6000)).astype(np.float32)
    assert count_told(axis_integers(fit_axis_scales(wide))[0], wide.shape) == 0


@pytest.mark.parametrize("shape", [(1, 1, 1 << 20), (1 << 18, 1, 4), (1 << 18, 4, 1), (2, 1 << 19, 1)])
def test_a_long_axis_takes_little_memory(shape):
    """It may not have scales of its own; only its latents and their classes are as many as it is long."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    peaks = []
    for work in (lambda: fit_axis_scales(values), lambda: axis_scales([0] * 6, np.zeros(0, np.int32), shape).classes()):
        tracemalloc.start()
        try:
            work()
            peaks.append(tracemalloc.get_traced_memory()[1] / values.size)
        finally:
            tracemalloc.stop()
    assert peaks[0] < 4.5
    assert peaks[1] < 5.5


def test_a_long_axis_leaves_the_others_their_scales():
    values = separable(np.ones(20_000), np.ones(1), np.array([1.0, 2.0, 4.0, 8.0]))
    codes = fit_axis_scales(values).codes
    assert codes[0].tolist() == [codes[0][0]] * 20_000
    assert (codes[2] + codes[1][0] + codes[0][0]).tolist() == [0, 4, 8, 12]


def test_codes_without_end_are_clipped():
    modes = [1, 2**31 - 1, 0, -(2**31) + 1, 2, 0]
    scales = axis_scales(modes, np.full(7, 2**31 - 1, np.int32), (3, 2, 4))
    assert all(np.abs(codes).max() <= 4 * 1024 for codes in scales.codes)
    assert scales.classes().shape == (24,)


@pytest.mark.parametrize("modes", [[], [0, 0], [0, 0, 0, 0, 0], [0] * 7, [3, 0, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0]], ids=str)
def test_malformed_modes_are_refused(modes):
    with pytest.raises(FormatError, match="unknown way"):
        count_told(modes, (2, 3, 4))
