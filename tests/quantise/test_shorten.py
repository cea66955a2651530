import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.codec import symbols as room
from weightzip.codec.symbols import Symbols, decode_points, encode_symbols, quantise_latents, round_latents, shorten
from weightzip.entropy.machine import SCALAR, points
from weightzip.entropy.magnitudes import MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols
from weightzip.quantise.axes import AxisScales, axis_unit
from weightzip.quantise.shorten import shortened
from weightzip.quantise.trellis import NUM_PRICES

ARRAYS = st.lists(
    hnp.arrays(
        np.float32,
        st.one_of(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9), st.just((0, 0, 0))),
        elements=st.one_of(st.just(0.0), st.floats(-3, 3, width=32), st.floats(-(2.0**18), 2.0**18, width=32)),
    ),
    min_size=1,
    max_size=3,
)


def num_bytes(coded):
    made = encode_symbols(coded)
    return len(made.model) + len(made.streams)


def assert_stands_for_the_same(shorter, coded):
    """The same symbols, and decoded, under its own scales, they are the same points."""
    assert np.array_equal(shorter.symbols, coded.symbols)
    assert np.array_equal(shorter.quantisers, coded.quantisers)
    shapes = [scales.shape for scales in coded.scales]
    assert [scales.shape for scales in shorter.scales] == shapes
    decoded = decode_points(encode_symbols(shorter), shapes, shorter.machine)
    found = np.concatenate([array.reshape(-1) for array in decoded])
    assert np.array_equal(found, points(coded.symbols, coded.quantisers))


def sparse(rows, columns, *, dead, density=0.2, seed=0):
    """Latents [rows, 1, columns], of which a share of the rows and of the columns is zero, and the rest seldom is not."""
    rng = np.random.default_rng(seed)
    values = np.rint(2 * rng.laplace(size=(rows, columns)) * (rng.random((rows, columns)) < density))
    values *= (rng.random((rows, 1)) >= dead) * (rng.random(columns) >= dead)
    return values[:, None, :].astype(np.float32)


def gaussian(*shapes, deviation=3.0):
    rng = np.random.default_rng(0)
    return [(deviation * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


def prices_of(coded):
    classes = np.concatenate([scales.classes() for scales in coded.scales])
    counts = count_symbols(coded.symbols, classes, coded.quantisers, MAX_CLASSES)
    return MagnitudeTables.fit(counts, (0,)).bits(MAX_CLASSES, NUM_PRICES)


def coded_bits(coded, scales, prices):
    """What symbols of one array take under these scales, at these prices."""
    magnitudes = np.minimum(np.abs(coded.symbols), NUM_PRICES - 1)
    return float(prices[scales.classes(), coded.quantisers, magnitudes].sum(dtype=np.float64))


@given(ARRAYS)
@settings(max_examples=40)
def test_it_is_never_longer_and_stands_for_the_same(latents):
    coded = round_latents(latents)
    shorter = shorten(coded)
    assert num_bytes(shorter) <= num_bytes(coded)
    assert_stands_for_the_same(shorter, coded)


@given(ARRAYS)
@settings(max_examples=15)
def test_symbols_of_a_trellis_as_well(latents):
    coded = quantise_latents(latents, num_states=8)
    shorter = shorten(coded)
    assert num_bytes(shorter) <= num_bytes(coded)
    assert_stands_for_the_same(shorter, coded)


@pytest.mark.parametrize(("dead", "share"), [(0.0, 1.0), (0.3, 0.9), (0.5, 0.6), (0.8, 0.7)])
def test_sparse_symbols_are_far_shorter_where_rows_and_columns_are_dead(dead, share):
    coded = round_latents([sparse(200, 150, dead=dead)])
    shorter = shorten(coded)
    assert num_bytes(shorter) <= share * num_bytes(coded)
    assert_stands_for_the_same(shorter, coded)


def test_dead_rows_get_a_class_in_which_zeros_are_free():
    latents = sparse(60, 400, dead=0.0, density=0.3)
    latents[::2] = 0
    coded = shorten(round_latents([latents]))
    prices = prices_of(coded)
    classes = coded.scales[0].classes().reshape(60, 400)
    zeros = prices[classes, 0, 0].mean(axis=1)
    assert zeros[::2].max() < 0.05
    assert zeros[1::2].min() > 0.2


def test_several_arrays_are_shortened_together():
    latents = [sparse(100, 80, dead=0.7, seed=seed) for seed in range(4)]
    coded = round_latents(latents)
    shorter = shorten(coded)
    assert num_bytes(shorter) < 0.55 * num_bytes(coded)
    assert_stands_for_the_same(shorter, coded)


def test_what_is_gaussian_has_the_right_scales_already():
    rows = 2.0 ** np.linspace(-1, 2, 60)[:, None, None]
    coded = round_latents([(gaussian((60, 1, 200))[0] * rows).astype(np.float32)])
    shorter = shorten(coded)
    assert 0.99 * num_bytes(coded) < num_bytes(shorter) <= num_bytes(coded)


def test_twice_is_no_shorter_than_once_but_by_a_little():
    once = shorten(round_latents([sparse(200, 150, dead=0.6)]))
    assert 0.995 * num_bytes(once) <= num_bytes(shorten(once)) <= num_bytes(once)


def test_the_same_each_time_and_inputs_untouched():
    latents = [sparse(80, 60, dead=0.6)]
    coded = round_latents(latents)
    before = coded.symbols.copy(), [codes.copy() for codes in coded.scales[0].codes]
    first, second = shorten(coded), shorten(coded)
    assert encode_symbols(first) == encode_symbols(second)
    assert np.array_equal(coded.symbols, before[0])
    assert all(map(np.array_equal, coded.scales[0].codes, before[1]))


def test_large_arrays_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(room, "_MAX_SHORTENED", 1000)
    coded = round_latents([sparse(50, 40, dead=0.8)])
    assert shorten(coded) is coded
    small = round_latents([sparse(25, 40, dead=0.8)])
    assert num_bytes(shorten(small)) < num_bytes(small)


@pytest.mark.parametrize("shapes", [[(1, 1, 1)], [(0, 0, 0)], [(1, 1, 50), (0, 0, 0), (4, 3, 2)], [(2, 3, 4)] * 3], ids=str)
def test_arrays_of_all_sizes(shapes):
    coded = round_latents(gaussian(*shapes))
    assert_stands_for_the_same(shorten(coded), coded)


def test_arrays_without_anything_in_them():
    coded = round_latents([np.zeros((30, 2, 40), np.float32)])
    shorter = shorten(coded)
    assert num_bytes(shorter) <= num_bytes(coded) < 40
    assert_stands_for_the_same(shorter, coded)


def test_of_one_array_at_fixed_prices_scales_take_no_more_bits():
    """Far fewer, where scales say nothing: here one class for rows of very different sizes."""
    latents = np.rint(gaussian((40, 1, 120))[0] * 2.0 ** np.linspace(-3, 2, 40)[:, None, None]).astype(np.float32)
    fitted = round_latents([latents])
    flat = AxisScales(tuple(np.zeros(size, np.int32) for size in latents.shape))
    prices = prices_of(fitted)
    found = shortened(fitted.symbols, fitted.quantisers, flat, prices)
    assert coded_bits(fitted, found, prices) < 0.6 * coded_bits(fitted, flat, prices)
    assert coded_bits(fitted, found, prices) < 1.01 * coded_bits(fitted, fitted.scales[0], prices)
    assert np.corrcoef(found.codes[0], np.arange(40))[0, 1] > 0.95  # which are in order


def test_codes_are_in_the_units_in_which_an_axis_is_told():
    """Few latents to a code: it is told in quarters of an octave times four; anything else would not come back."""
    latents = sparse(500, 12, dead=0.5)
    coded = round_latents([latents])
    found = shortened(coded.symbols, coded.quantisers, coded.scales[0], prices_of(coded))
    assert axis_unit(found.shape, 0) == 4
    assert (found.codes[0] % 4 == 0).all()
    assert len(np.unique(found.codes[0])) > 1


def test_axes_that_may_not_have_scales_get_none():
    """One of 5,000 latents, to each of which it would be a code."""
    latents = sparse(1, 5000, dead=0.5)
    coded = round_latents([latents])
    found = shortened(coded.symbols, coded.quantisers, coded.scales[0], prices_of(coded))
    assert [len(np.unique(codes)) for codes in found.codes] == [1, 1, 1]


def test_scales_beyond_all_classes_are_brought_back():
    """A scale that puts a row below or above all classes says no more than the last one."""
    latents = gaussian((6, 1, 200))[0]
    good = round_latents([latents])
    codes = (np.array([-300, 300, 0, 0, 0, 0], np.int32), *good.scales[0].codes[1:])
    coded = Symbols(good.symbols, good.quantisers, (AxisScales(codes),), SCALAR)
    shorter = shorten(coded)
    assert np.abs(shorter.scales[0].codes[0]).max() < 100
    assert_stands_for_the_same(shorter, coded)


# What does not work yet


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_empty_arrays_of_any_shape(shape):
    coded = round_latents([np.zeros(shape, np.float32)])
    assert_stands_for_the_same(shorten(coded), coded)
