from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae.reflections import MAX_EXPONENT, Reflections, column_sizes


def orthonormal(length, rank, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(length, rank)))[0]


def constant(value, rank):
    return np.full(rank, value, np.int32)


@pytest.mark.parametrize(("length", "rank"), [(1, 1), (2, 2), (5, 1), (9, 9), (40, 40), (100, 33), (257, 256)])
@pytest.mark.parametrize("exponent", [0, 3, 8])
def test_columns_are_orthonormal_however_coarse(length, rank, exponent):
    columns = Reflections.of(orthonormal(length, rank), constant(exponent, rank)).columns(24) / 2.0**24
    assert np.abs(columns.T @ columns - np.eye(rank)).max() < 1e-5


@pytest.mark.parametrize(("length", "rank"), [(9, 9), (100, 33), (300, 300)])
def test_fine_steps_bring_the_columns_back_but_for_their_signs(length, rank):
    wanted = orthonormal(length, rank)
    errors = []
    for exponent in (6, 9, 12):
        columns = Reflections.of(wanted, constant(exponent, rank)).columns(24) / 2.0**24
        errors.append(np.abs(columns * np.sign((columns * wanted).sum(axis=0)) - wanted).std() * 2**exponent)
    assert max(errors) < 0.5
    assert min(errors) > 0.02


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_columns_are_the_product_of_the_reflections(length, rank, seed):
    """Against Python's fractions; what rounding on the way adds is a few units of 2^-24."""
    rank = min(rank, length)
    rng = np.random.default_rng(seed)
    exponents = rng.integers(0, MAX_EXPONENT + 1, rank).astype(np.int32)
    sizes = column_sizes(length, rank)
    parts = [rng.integers(-(2**e), 2**e + 1, size) for e, size in zip(exponents.tolist(), sizes.tolist(), strict=True)]
    reflections = Reflections(length, exponents, np.concatenate(parts).astype(np.int32))
    exact = [[Fraction(row == column) for column in range(rank)] for row in range(length)]
    for column in reversed(range(rank)):
        vector = [0] * column + [2 ** int(exponents[column]), *parts[column].tolist()]
        square = sum(v * v for v in vector)
        for k in range(rank):
            share = Fraction(2 * sum(v * row[k] for v, row in zip(vector, exact, strict=True)), square)
            for row, v in zip(exact, vector, strict=True):
                row[k] -= share * v
    expected = np.array([[float(value) for value in row] for row in exact])
    assert np.abs(reflections.columns(24) / 2.0**24 - expected).max() < 2.0**-18


def test_any_number_of_threads_gives_the_same_bits():
    reflections = Reflections.of(orthonormal(300, 300), constant(6, 300))
    columns = []
    for threads in (1, 2):
        with limited_threads(threads):
            columns.append(reflections.columns(11))
    assert np.array_equal(*columns)


def test_they_have_half_the_numbers():
    reflections = Reflections.of(orthonormal(64, 64), constant(6, 64))
    assert reflections.numbers.size == reflections.classes().size == 64 * 63 // 2
    assert reflections.rank == 64


def test_classes_follow_the_size_of_the_numbers():
    reflections = Reflections.of(orthonormal(200, 200), np.linspace(3, 10, 200).astype(np.int32))
    classes = reflections.classes()
    deviations = [np.square(reflections.numbers[classes == each]).mean() ** 0.5 for each in np.unique(classes)]
    assert np.corrcoef(np.log2(deviations), np.unique(classes))[0, 1] > 0.95


def test_numbers_larger_than_one_are_refused():
    reflections = Reflections(3, constant(2, 3), np.array([4, -4, 5], np.int32))
    with pytest.raises(FormatError, match="reflection is out of range"):
        reflections.columns(11)


def test_numbers_that_amplify_are_refused_or_exact():
    """All of one sign and as large as may be: the worst that a file can say."""
    for sign in (1, -1):
        reflections = Reflections(100, constant(0, 100), np.full(4950, sign, np.int32))
        columns = reflections.columns(24) / 2.0**24
        assert np.abs(columns.T @ columns - np.eye(100)).max() < 1e-4
