import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.entropy.machine import CHUNK, chunks, points, trellis
from weightzip.entropy.magnitudes import MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols
from weightzip.quantise.trellis import NUM_PRICES, TRELLIS_TRADEOFF, run_machine, search

FREE = np.zeros((MAX_CLASSES, 2, NUM_PRICES), np.float32)


def whole(count):
    """One stream of so many symbols, in chunks."""
    return chunks([count])


def some_prices(seed):
    """Prices that differ by class and quantiser, and rise with the magnitude."""
    rng = np.random.default_rng(seed)
    return rng.exponential(1.0, (MAX_CLASSES, 2, NUM_PRICES)).cumsum(axis=2).astype(np.float32)


def costs(values, classes, symbols, quantisers, prices, tradeoff):
    """What a sequence [..., n] costs at each symbol: squared error and priced bits."""
    errors = np.square(values.astype(np.float64) - points(symbols, quantisers))
    magnitudes = np.minimum(np.abs(symbols), NUM_PRICES - 1)
    return errors + tradeoff * prices[classes, quantisers, magnitudes]


def quantisers_of(symbols, machine):
    """For all sequences [m, n] at once, independently of the kernel."""
    states = np.zeros(len(symbols), np.int64)
    columns = []
    for column in symbols.T:
        columns.append(machine.quantiser[states])
        states = machine.next_state[states, column & 1]
    return np.stack(columns, axis=1)


EVERY_SEQUENCE = np.array(list(itertools.product(range(-3, 4), repeat=5)), np.int32)
EVERY_QUANTISER = quantisers_of(EVERY_SEQUENCE, trellis(8))


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-4, 4, width=32)),
    hnp.arrays(np.uint8, 5, elements=st.integers(0, 5)),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.2, TRELLIS_TRADEOFF, 1.0]),
    st.integers(0, 10),
)
def test_no_sequence_is_cheaper(values, classes, length, tradeoff, seed):
    values, classes = values[:length], classes[:length]
    prices = some_prices(seed)
    machine = trellis(8)
    symbols = search(values, classes, whole(length), machine, prices, tradeoff)
    found = costs(values, classes, symbols, run_machine(symbols, whole(length), machine), prices, tradeoff).sum()
    every = costs(values, classes, EVERY_SEQUENCE[:, :length], EVERY_QUANTISER[:, :length], prices, tradeoff).sum(axis=1)
    assert found == pytest.approx(every.min(), abs=1e-4)


@pytest.mark.parametrize("num_states", [8, 64, 256])
def test_the_machine_runs_anew_in_every_chunk(num_states):
    machine = trellis(num_states)
    symbols = np.random.default_rng(0).integers(-5, 6, 2 * CHUNK + 40).astype(np.int32)
    quantisers = run_machine(symbols, chunks([CHUNK + 9, CHUNK + 31]), machine)
    for start, end in ((0, CHUNK), (CHUNK, CHUNK + 9), (CHUNK + 9, 2 * CHUNK + 9), (2 * CHUNK + 9, 2 * CHUNK + 40)):
        assert np.array_equal(quantisers[start:end], quantisers_of(symbols[None, start:end], machine)[0])


def bits_and_error(values, num_states):
    """Entropy in bits and mean square error per value, with prices fitted in turn; values of class 30, about 2.6 steps."""
    machine, parts = trellis(num_states), whole(values.size)
    classes = np.full(values.size, 30, np.uint8)
    places = 2 * np.arange(NUM_PRICES) - np.array([[0], [1]])
    prices = np.tile(np.square(places / 2.6) / (2 * np.log(2)) + (places > 0), (MAX_CLASSES, 1, 1)).astype(np.float32)
    for _ in range(12):
        symbols = search(values, classes, parts, machine, prices, TRELLIS_TRADEOFF)
        quantisers = run_machine(symbols, parts, machine)
        counts = count_symbols(symbols, classes, quantisers, MAX_CLASSES)
        prices = MagnitudeTables.fit(counts).bits(MAX_CLASSES, NUM_PRICES)
    used = counts[30].astype(float)
    shares = used / used.sum(axis=1, keepdims=True)
    bits = -(used * np.log2(np.where(used > 0, shares, 1))).sum() + np.count_nonzero(symbols)
    return bits / values.size, np.square(values - points(symbols, quantisers)).mean()


@pytest.mark.parametrize(("num_states", "gap"), [(8, 0.089), (64, 0.060), (256, 0.048)])
def test_distance_from_the_rate_distortion_bound(num_states, gap):
    """Of a Gaussian source at 2.4 bits per value; plain rounding is a quarter of a bit away."""
    values = (2.6 * np.random.default_rng(0).standard_normal(160_000)).astype(np.float32)
    bits, error = bits_and_error(values, num_states)
    bound = 0.5 * np.log2(np.mean(np.square(values)) / error)
    assert 2.3 < bits < 2.5
    assert bits - bound == pytest.approx(gap, abs=0.005)


@pytest.mark.parametrize("num_states", [8, 256])
def test_lanes_do_not_influence_each_other(num_states):
    """A chunk's symbols are the same in any company of its length, and in any order."""
    rng = np.random.default_rng(0)
    count, length = 70, 40  # more than are searched side by side
    values = (3 * rng.standard_normal(count * length)).astype(np.float32)
    classes = rng.integers(0, 40, count * length).astype(np.uint8)
    parts = np.array([(start, length) for start in range(0, count * length, length)])
    machine, prices = trellis(num_states), some_prices(1)
    together = search(values, classes, parts, machine, prices, TRELLIS_TRADEOFF)
    assert np.array_equal(search(values, classes, parts[::-1].copy(), machine, prices, TRELLIS_TRADEOFF), together)
    for start, _ in parts[::7]:
        part = slice(start, start + length)
        alone = search(values[part], classes[part], np.array([[0, length]]), machine, prices, TRELLIS_TRADEOFF)
        assert np.array_equal(alone, together[part])


@pytest.mark.parametrize("num_states", [8, 256])
def test_a_short_chunk_beside_a_long_one_is_searched_as_if_alone(num_states):
    """What fills its lane up to the others' length must not bear on where its own path ends."""
    rng = np.random.default_rng(0)
    machine, prices = trellis(num_states), some_prices(2)
    values = (3 * rng.standard_normal(200)).astype(np.float32)
    classes = rng.integers(0, 40, 200).astype(np.uint8)
    differing = 0
    for short in range(1, 40):
        alone = search(values[:short], classes[:short], np.array([[0, short]]), machine, prices, TRELLIS_TRADEOFF)
        parts = np.array([[short, 200 - short], [0, short]])
        beside = search(values, classes, parts, machine, prices, TRELLIS_TRADEOFF)[:short]
        differing += not np.array_equal(alone, beside)
    assert differing == 0


def test_what_no_chunk_covers_stays_zero():
    values = np.full(30, 7.0, np.float32)
    symbols = search(values, np.zeros(30, np.uint8), np.array([[5, 10]]), trellis(8), FREE, 0.0)
    assert (symbols[:5] == 0).all()
    assert (symbols[15:] == 0).all()
    assert (symbols[5:15] > 0).all()


def test_nothing_to_search():
    none = np.zeros(0, np.float32)
    assert search(none, np.zeros(0, np.uint8), whole(0), trellis(8), FREE, TRELLIS_TRADEOFF).size == 0
    assert run_machine(np.zeros(0, np.int32), whole(0), trellis(8)).size == 0


def test_the_price_is_paid_where_it_is_asked():
    """Values of a class whose symbols are dear become zeros; beside them, others do not."""
    values = np.full(200, 2.0, np.float32)
    classes = np.repeat(np.array([3, 4], np.uint8), 100)
    prices = FREE.copy()
    prices[3, :, 1:] = 50.0
    symbols = search(values, classes, whole(200), trellis(64), prices, TRELLIS_TRADEOFF)
    assert (symbols[:100] == 0).all()
    assert (symbols[110:] > 0).all()


def test_without_a_price_only_the_error_counts():
    """Prices make no difference at tradeoff 0, and the error is what trellis quantisation gives: below a scalar one's 1/3."""
    values = (5 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    classes, parts, machine = np.zeros(20_000, np.uint8), whole(20_000), trellis(64)
    symbols = search(values, classes, parts, machine, some_prices(0), 0.0)
    assert np.array_equal(symbols, search(values, classes, parts, machine, FREE, 0.0))
    error = np.square(values - points(symbols, run_machine(symbols, parts, machine))).mean()
    assert error < 0.28  # 4/12 by rounding to even points; granular gain makes it about 0.25


@pytest.mark.parametrize("exponent", [10, 20, 24, 25, 27, 29, 30])
@pytest.mark.parametrize("num_states", [8, 256])
def test_huge_values_keep_the_machine_in_step(num_states, exponent):
    """Beyond 2^24 neighbouring points are one number to float32, but not to the machine."""
    rng = np.random.default_rng(exponent)
    values = (2.0**exponent * rng.uniform(-1, 1, 500)).astype(np.float32)
    values[::7] = rng.uniform(-3, 3, len(values[::7]))
    values[:2] = 2.0**exponent, -(2.0**exponent)
    machine, parts = trellis(num_states), whole(500)
    symbols = search(values, np.zeros(500, np.uint8), parts, machine, some_prices(0), TRELLIS_TRADEOFF)
    errors = np.abs(points(symbols, run_machine(symbols, parts, machine)).astype(np.float64) - values)
    assert (errors <= 4 + np.abs(values) * 2.0**-22).all()


@pytest.mark.parametrize("exponent", [10, 26, 29])
def test_huge_values_do_not_spoil_those_after_them(exponent):
    """A machine out of step would still be decoded alike, but small values would get the points of the other quantiser."""
    rng = np.random.default_rng(exponent)
    values = rng.uniform(-9, 9, 4000).astype(np.float32)
    values[::10] = 2.0**exponent * rng.uniform(0.5, 1, 400)
    machine, parts = trellis(256), whole(4000)
    symbols = search(values, np.zeros(4000, np.uint8), parts, machine, FREE, 0.0)
    errors = points(symbols, run_machine(symbols, parts, machine)).astype(np.float64) - values
    small = np.delete(np.square(errors), np.s_[::10])
    assert small.mean() < 0.25
    assert small.max() <= 4


@given(
    hnp.arrays(np.float32, st.integers(0, 80), elements=st.floats(-(2.0**30), 2.0**30, width=32)),
    st.sampled_from([8, 64, 256]),
    st.integers(0, 5),
)
@settings(max_examples=40)
def test_any_values_give_symbols_near_them(values, num_states, seed):
    machine, parts = trellis(num_states), whole(values.size)
    classes = (np.arange(values.size) % MAX_CLASSES).astype(np.uint8)
    symbols = search(values, classes, parts, machine, some_prices(seed), 0.0)
    errors = np.abs(points(symbols, run_machine(symbols, parts, machine)).astype(np.float64) - values)
    assert (errors <= 4 + np.abs(values) * 2.0**-22).all()
    assert np.square(errors[np.abs(values) < 2**20]).sum() <= 4 * values.size


def test_values_beyond_reach_are_cut_off():
    values = np.array([3e38, -3e38, 1e12, 0.0], np.float32)
    symbols = search(values, np.zeros(4, np.uint8), whole(4), trellis(8), FREE, 0.0)
    assert np.abs(np.abs(symbols[:3].astype(np.int64)) - 2**29).max() <= 64
    assert np.sign(symbols[:3]).tolist() == [1, -1, 1]
