import numpy as np
import pytest

from weightzip.entropy import encode
from weightzip.quantise import TRADEOFF, quantise, quantise_with_feedback

ROWS, COLUMNS = 200, 60


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(0, 2, (ROWS, COLUMNS))


@pytest.fixture
def correlated():
    """Second moments of inputs that a few directions explain."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(500, 8)) @ rng.normal(size=(8, COLUMNS)) + 0.3 * rng.normal(size=(500, COLUMNS))
    return inputs.T @ inputs / len(inputs)


def output_error(values, symbols, gram):
    """tr((W - W') G (W - W')'), the error of the layer's output."""
    error = values - symbols
    return float(np.einsum("ri,ij,rj->", error, gram, error))


def plain(values, tradeoff=TRADEOFF):
    return quantise(values.reshape(-1).astype(np.float32), np.zeros(values.size, np.uint8), tradeoff=tradeoff).reshape(
        values.shape
    )


def test_the_output_is_nearer_at_about_the_same_bits(values, correlated):
    symbols = quantise_with_feedback(values, correlated, np.zeros(values.shape, np.uint8))
    without = plain(values)
    assert output_error(values, symbols, correlated) < 0.5 * output_error(values, without, correlated)
    assert len(encode(symbols.reshape(-1))) < 1.05 * len(encode(without.reshape(-1)))


def test_the_output_is_nearer_than_that_of_rounding_too(values, correlated):
    symbols = quantise_with_feedback(values, correlated, np.zeros(values.shape, np.uint8), tradeoff=0)
    assert output_error(values, symbols, correlated) < 0.5 * output_error(values, plain(values, 0), correlated)


def test_uncorrelated_inputs_leave_nothing_to_make_good(values):
    symbols = quantise_with_feedback(values, np.eye(COLUMNS), np.zeros(values.shape, np.uint8), tradeoff=0)
    assert np.array_equal(symbols, np.rint(values))


def test_the_first_column_is_only_rounded(values, correlated):
    symbols = quantise_with_feedback(values, correlated, np.zeros(values.shape, np.uint8), tradeoff=0)
    assert np.array_equal(symbols[:, 0], np.rint(values[:, 0]))


def test_an_input_that_never_comes_is_no_obstacle(values, correlated):
    correlated[5] = correlated[:, 5] = 0
    symbols = quantise_with_feedback(values, correlated, np.zeros(values.shape, np.uint8))
    assert np.abs(symbols - values)[:, 5].max() <= 1.0


def test_the_values_are_left_as_they_are(values, correlated):
    before = values.copy()
    quantise_with_feedback(values, correlated, np.zeros(values.shape, np.uint8))
    assert np.array_equal(values, before)
