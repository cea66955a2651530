import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightzip.entropy import encode_integers, read_integers
from weightzip.entropy.magnitudes import ALPHABET, MAX_CLASSES, PROBABILITY_BITS, MagnitudeTables
from weightzip.errors import FormatError

TOTAL = 1 << PROBABILITY_BITS
CELLS = st.dictionaries(
    st.tuples(
        st.one_of(st.integers(20, 30), st.integers(0, MAX_CLASSES - 1)),
        st.integers(0, 1),
        st.one_of(st.integers(0, 3), st.integers(0, ALPHABET - 1)),
    ),
    st.one_of(st.integers(1, 20), st.integers(1, 2**40)),
    max_size=12,
)


def counts_of(cells):
    counts = np.zeros((MAX_CLASSES, 2, ALPHABET), np.int64)
    for cell, count in cells.items():
        counts[cell] = count
    return counts


def gaussian_counts(classes, per_class, seed=0):
    """Symbols of Gaussian values, of deviation 2^((c - 24) / 4) fine steps, rounded to either quantiser's points."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((MAX_CLASSES, 2, ALPHABET), np.int64)
    for scale_class in classes:
        values = np.abs(rng.normal(0, 2.0 ** ((scale_class - 24) / 4), per_class))
        half = values[: per_class // 2], values[per_class // 2 :]
        for quantiser, part in enumerate(half):
            magnitudes = np.rint((part + quantiser) / 2).astype(np.int64)
            magnitudes[part < 0.5 * quantiser] = 0  # quantiser 1: points 0, 1, 3, 5 ...
            assert magnitudes.max(initial=0) < 16
            counts[scale_class, quantiser, :16] += np.bincount(magnitudes, minlength=16)
    return counts


def entropy_bits(counts):
    """Of the counts within each class and quantiser."""
    rows = counts.reshape(-1, ALPHABET)
    rows = rows[rows.any(axis=1)]
    shares = rows / rows.sum(axis=1, keepdims=True)
    return float(-(rows * np.log2(np.where(rows > 0, shares, 1))).sum())


def size_of(tables):
    return len(encode_integers(tables.to_integers()))


def assert_valid(tables):
    """Whatever was read, a coder can work with it."""
    assert tables.frequencies.shape == (len(tables.logs), 2, ALPHABET)
    assert (tables.frequencies.sum(axis=2, dtype=np.int64) == TOTAL).all()
    for frequencies, pair in zip(tables.frequencies, tables.logs, strict=True):
        for row, table in zip(frequencies, pair, strict=True):
            assert (row[: len(table)] >= 1).all()
            assert (row[len(table) :] == 0).all()
    assert tables.first + len(tables.logs) <= MAX_CLASSES


@given(CELLS)
@example({})
@example({(24, 0, 0): 5})
@example({(0, 0, 0): 1, (63, 1, ALPHABET - 1): 2**40})
@settings(max_examples=80)
def test_what_is_fitted_can_be_read_and_codes_all_that_occurs(cells):
    counts = counts_of(cells)
    tables = MagnitudeTables.fit(counts)
    assert_valid(tables)
    for scale_class, quantiser, symbol in cells:
        table = tables.index(np.array([scale_class], np.uint8))[0]
        assert tables.frequencies[table, quantiser, symbol] >= 1
    data = encode_integers(tables.to_integers())
    assert MagnitudeTables.from_integers(read_integers(data)) == tables


@pytest.mark.parametrize(
    "cells",
    [
        {(22, 1, 0): 1, (22, 1, 66): 1},
        {(25, 1, 0): 10, (25, 1, ALPHABET - 1): 1},
        {(16, 1, 0): 1000, (16, 1, 66): 1},
        {(7, 0, 11): 2747, (7, 1, 27): 11, (38, 1, 0): 29270409, (38, 1, 2): 20837, (51, 1, 0): 8, (51, 1, 1): 318537865},
    ],
    ids=str,
)
def test_a_far_outlier_beyond_a_steep_guess_can_be_read(cells):
    """A steep table continued to the end of the alphabet must not leave the range that reading allows."""
    tables = MagnitudeTables.fit(counts_of(cells))
    assert MagnitudeTables.from_integers(itertools.chain(tables.to_integers(), itertools.repeat(0))) == tables


def test_nothing_has_no_tables():
    tables = MagnitudeTables.fit(counts_of({}))
    assert tables.logs == ()
    assert tables.index(np.zeros(0, np.uint8)).size == 0
    assert size_of(tables) <= 1
    assert (tables.bits(MAX_CLASSES, 16) == 0).all()
    with pytest.raises(FormatError, match="no frequency table"):
        tables.index(np.zeros(1, np.uint8))


def test_only_zeros_cost_nothing():
    counts = counts_of({(12, 0, 0): 10**6})
    tables = MagnitudeTables.fit(counts)
    assert tables.cost(counts) == 0.0
    assert size_of(tables) < 8


@pytest.mark.parametrize(
    ("present", "most_bytes"),
    [([24], 26), ([30], 22), (range(20, 34), 145), ([20, 34], 65)],
    ids=["24", "30", "20-33", "apart"],
)
def test_gaussian_counts_take_their_entropy(present, most_bytes):
    counts = gaussian_counts(present, 40_000)
    tables = MagnitudeTables.fit(counts)
    entropy = entropy_bits(counts)
    assert entropy <= tables.cost(counts) < 1.0005 * entropy
    assert size_of(tables) <= most_bytes


def test_neighbours_predict_each_other():
    """Telling each table by itself takes several times as much."""
    counts = gaussian_counts(range(20, 34), 3_000)
    together = size_of(MagnitudeTables.fit(counts))
    alone = 0
    for scale_class in range(20, 34):
        for quantiser in (0, 1):
            row = counts[scale_class, quantiser]
            used = row[: np.flatnonzero(row)[-1] + 1]
            logs = [round(8 * math.log2(max(count, 0.3) / used.max())) for count in used]
            alone += len(encode_integers([len(logs), *logs]))
    assert together < 0.2 * alone


def test_few_symbols_share_tables_and_many_do_not():
    few, many = (MagnitudeTables.fit(gaussian_counts(range(20, 34), size, seed=1)) for size in (60, 2_000_000))
    assert size_of(few) < 36
    assert few.width_log2 > 0
    assert many.width_log2 == 0


def test_counts_that_are_no_gaussian_are_told():
    """Two humps: no guess is near, and the cost is near the entropy all the same."""
    row = np.zeros(ALPHABET, np.int64)
    row[:12] = [50_000, 10, 10, 10, 10, 30_000, 30_000, 10, 10, 10, 5_000, 80_000]
    counts = np.zeros((MAX_CLASSES, 2, ALPHABET), np.int64)
    counts[28] = row
    tables = MagnitudeTables.fit(counts)
    assert tables.cost(counts) + 8 * size_of(tables) < 1.001 * entropy_bits(counts) + 8 * 110


def test_bits_are_those_of_the_frequencies_and_a_sign():
    tables = MagnitudeTables(3, 1, 0, (((0, -8), (0,)),))
    bits = tables.bits(MAX_CLASSES, 3)
    low = float(np.log2(3.0))
    assert bits[0, 0, :2] == pytest.approx([low - 1, low + 1], abs=1e-3)  # 2/3 and 1/3, the latter with a sign
    assert bits[63, 1, 0] == 0.0
    assert (bits[:, 1, 1:] > PROBABILITY_BITS).all()  # what has no frequency is dear, and not infinitely so
    assert np.isfinite(bits).all()
    assert np.array_equal(bits[0], bits[63])  # classes without a table have their neighbour's


def test_classes_below_the_first_table_and_above_the_last_have_none():
    tables = MagnitudeTables(3, 1, 0, (((0,), (0,)), ((0,), (0,))))
    assert tables.index(np.array([6, 7, 8, 9], np.uint8)).tolist() == [0, 0, 1, 1]
    for scale_class in (5, 10, 0, 255):
        with pytest.raises(FormatError, match="no frequency table"):
            tables.index(np.array([7, scale_class], np.uint8))


@pytest.mark.parametrize("length", [1, 2, 16, 17, ALPHABET])
@pytest.mark.parametrize("shape", ["flat", "steep", "one peak at the end", "falling"])
def test_frequencies_of_any_table_sum_up_and_stay_positive(length, shape):
    """A long table leaves most symbols the least share there is; the largest one has to pay for all of them."""
    table = {
        "flat": [0] * length,
        "steep": [0] + [-4096] * (length - 1),
        "one peak at the end": [-4096] * (length - 1) + [4096],
        "falling": [-2 * place for place in range(length)],
    }[shape]
    assert_valid(MagnitudeTables(0, 0, 0, ((tuple(table), (0,)),)))


def test_golden_tables():
    """Files that exist must stay readable: these integers mean these frequencies, on every machine."""
    told = [22, 0, 3, 1, 0, 0, 0, 2, 0, -3, 1, 2, 1, 0, 1]
    tables = MagnitudeTables.from_integers(itertools.chain(told, itertools.repeat(0)))
    assert [[row[row > 0].tolist() for row in pair] for pair in tables.frequencies] == GOLDEN_FREQUENCIES


GOLDEN_FREQUENCIES = [
    [[14564, 1820], [3737, 12572, 75]],
    [[14564, 1820], [2453, 13882, 49]],
    [[12587, 2224, 1573], [2078, 13988, 259, 59]],
]


@pytest.mark.parametrize(
    "values",
    [
        [-1, 0, 1, 0],
        [0, -1, 1, 0],
        [0, 3, 1, 0],
        [0, 0, -1, 0],
        [0, 0, -1, -1],
        [0, 0, 65, 0],
        [64, 0, 1, 0],
        [2**30, 0, 1, 0],
        [0, 0, 2**31 - 1, 0],
        [0, 0, 3, 3],
        [0, 0, 3, -1],
        [0, 0, 0, 1],
        [16, 2, 1, 0],  # tables of four classes each: these would be the classes from 64 on
        [63, 2, 1, 0],
        [13, 2, 26, 25],
        [0, 1, 33, 0],
    ],
    ids=str,
)
def test_tables_out_of_range_are_refused(values):
    with pytest.raises(FormatError, match="tables are out of range"):
        MagnitudeTables.from_integers(itertools.chain(values, itertools.repeat(0)))


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ([3, 0], "unknown way"),
        ([-1, 0], "unknown way"),
        ([1, ALPHABET], "longer than its alphabet"),
        ([1, -(2**31) + 1], "longer than its alphabet"),
        ([2, 2**31 - 1], "longer than its alphabet"),
        ([1, -16], "longer than its alphabet"),  # a class of wide Gaussians: 16 are guessed, none is left
        ([2, 0, 4097], "a frequency is out of range"),
        ([2, 0, 0, -(2**31) + 1], "a frequency is out of range"),
    ],
    ids=str,
)
def test_a_malformed_table_is_refused(told, match):
    with pytest.raises(FormatError, match=match):
        MagnitudeTables.from_integers(itertools.chain([40, 0, 1, 0, *told], itertools.repeat(0)))


@given(st.binary(max_size=60))
@settings(max_examples=150)
def test_random_bytes_are_refused_or_make_tables(data):
    try:
        tables = MagnitudeTables.from_integers(read_integers(data))
    except FormatError:
        return
    assert_valid(tables)


@given(
    st.lists(st.one_of(st.integers(-9, 9), st.integers(-4200, 4200), st.integers(-(2**31) + 1, 2**31 - 1)), max_size=80),
    st.integers(0, MAX_CLASSES),
    st.integers(0, 2),
    st.integers(0, MAX_CLASSES),
    st.integers(0, MAX_CLASSES),
    st.integers(-2, 2),
)
@settings(max_examples=150)
def test_integers_in_range_at_first_are_refused_or_make_tables(values, first, width_log2, count, start, filler):
    told = itertools.chain([first, width_log2, count, start], values, itertools.repeat(filler))
    try:
        tables = MagnitudeTables.from_integers(told)
    except FormatError:
        return
    assert_valid(tables)
    assert MagnitudeTables.from_integers(iter(tables.to_integers())) == tables
