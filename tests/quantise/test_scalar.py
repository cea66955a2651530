import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.entropy import code_lengths, encode
from weightzip.quantise import TRADEOFF, quantise
from weightzip.quantise.scalar import bargain

VALUES = hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-50, 50, width=32))


def no_classes(values):
    return np.zeros(len(values), np.uint8)


@given(hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-(2.0**30), 2.0**30, width=32)))
def test_without_a_price_it_rounds(values):
    symbols = quantise(values, no_classes(values), tradeoff=0)
    assert symbols.dtype == np.int32
    assert (np.abs(symbols - values.astype(np.float64)) <= 0.5).all()


@given(VALUES, st.floats(0, 10))
def test_a_symbol_is_the_nearest_or_the_next_towards_zero(values, tradeoff):
    symbols = quantise(values, no_classes(values), tradeoff=tradeoff)
    nearest = np.rint(values).astype(np.int32)
    assert ((symbols == nearest) | (symbols == nearest - np.sign(nearest))).all()


def test_values_beyond_32_bits_saturate():
    symbols = quantise(np.array([1e20, -1e20, 2.0**31], np.float32), np.zeros(3, np.uint8), tradeoff=0)
    assert symbols.tolist() == [2**31 - 1, -(2**31) + 1, 2**31 - 1]


def lagrangian(values, symbols, tradeoff, bits):
    """Squared error in steps plus the price of the bits."""
    return float(np.square(values - symbols).sum() + tradeoff * bits)


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=50), st.floats(0.01, 2))
def test_a_bargain_is_the_best_of_its_two_choices(values, tradeoff):
    array = np.array(values)
    prices = np.random.default_rng(0).uniform(0, 10, (1, 16)).astype(np.float32)
    chosen = bargain(array, no_classes(array), prices, tradeoff)
    nearest = np.rint(array).astype(np.int32)
    for value, symbol, high in zip(array, chosen, nearest, strict=True):
        costs = [lagrangian(value, q, tradeoff, prices[0, abs(q)]) for q in (high, high - np.sign(high))]
        assert lagrangian(value, symbol, tradeoff, prices[0, abs(symbol)]) == pytest.approx(min(costs), abs=1e-5)


@pytest.mark.parametrize(("deviation", "at_most"), [(0.5, 0.96), (1.0, 0.985), (3.0, 0.999)])
def test_the_whole_cost_is_lower_than_rounding(deviation, at_most):
    values = np.random.default_rng(0).normal(0, deviation, 50_000).astype(np.float32)
    classes = no_classes(values)
    rounded, chosen = quantise(values, classes, tradeoff=0), quantise(values, classes)
    costs = [lagrangian(values, symbols, TRADEOFF, 8 * len(encode(symbols))) for symbols in (rounded, chosen)]
    assert costs[1] < at_most * costs[0]
    assert len(encode(chosen)) < len(encode(rounded))


def test_each_class_has_prices_of_its_own():
    """A one is dear where nearly all is zero, and cheap where zeros are rare."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.array([0, 1], np.uint8), 5000)
    values = rng.normal(0, np.where(classes == 0, 0.25, 4.0)).astype(np.float32)
    values[[0, 5000]] = 0.6
    symbols = quantise(values, classes)
    assert symbols[[0, 5000]].tolist() == [0, 1]


def test_prices_fall_where_symbols_are_frequent():
    lengths = code_lengths(np.array([0] * 60 + [1] * 30 + [2] * 10, np.int32))[0]
    assert lengths[0] == pytest.approx(np.log2(100 / 60), abs=0.15)
    assert lengths[0] < lengths[1] < lengths[2] < lengths[3]
