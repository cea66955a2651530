import numpy as np
import pytest

from weightzip.codec.symbols import Symbols, decode_points, encode_symbols, round_latents
from weightzip.entropy.machine import CHUNK, trellis
from weightzip.quantise.descent import quantise_layer

MACHINE = trellis(8)
NUM_INPUTS, COLUMNS = 40, 12


def layer(rows, seed=0):
    """Inputs [40, 12], correlated, of mean square 1, and outputs that a random layer makes of them, of variance about 1."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(NUM_INPUTS, COLUMNS)) @ (np.eye(COLUMNS) + 0.3 * rng.normal(size=(COLUMNS, COLUMNS)))
    inputs /= np.sqrt(np.square(inputs).mean(axis=0))
    return inputs, inputs @ rng.normal(0, COLUMNS**-0.5, (COLUMNS, rows))


def coded(quantised):
    symbols = Symbols(quantised.symbols.reshape(-1), quantised.quantisers.reshape(-1), (quantised.scales,), MACHINE)
    return encode_symbols(symbols)


def num_bytes(data):
    return len(data.model) + len(data.streams)


@pytest.mark.parametrize("rows", [1, 64, 100, 2047, CHUNK, 2049, 3 * CHUNK])
def test_any_number_of_rows_is_decoded_to_the_error_allowed(rows):
    """Whether a chunk of the machine is a part of a column, a column, or many columns."""
    inputs, outputs = layer(rows)
    quantised = quantise_layer(inputs, outputs, MACHINE, 0.01)
    (points,) = decode_points(coded(quantised), [(COLUMNS, 1, rows)], MACHINE)
    np.testing.assert_array_equal(points[:, 0], quantised.points)
    assert 0.005 < np.square(inputs @ points[:, 0] * quantised.step - outputs).mean() <= 0.01 * (1 + 1e-6)


@pytest.mark.parametrize(("rows", "share"), [(100, 0.95), (CHUNK, 0.9)])
def test_it_is_smaller_than_rounding_at_the_same_error(rows, share):
    inputs, outputs = layer(rows)
    best = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    step = 0.25
    rounded = np.square(inputs @ (np.rint(best / step) * step) - outputs).mean()
    plain = num_bytes(encode_symbols(round_latents([(best / step)[:, None, :]])))
    assert num_bytes(coded(quantise_layer(inputs, outputs, MACHINE, rounded))) < share * plain


@pytest.mark.parametrize("max_error", [0.1, 1e-3, 1e-6])
def test_any_error(max_error):
    inputs, outputs = layer(200)
    quantised = quantise_layer(inputs, outputs, MACHINE, max_error)
    error = np.square(inputs @ quantised.points * quantised.step - outputs).mean()
    assert 0.5 * max_error < error <= max_error * (1 + 1e-6)


def test_a_larger_error_is_shorter():
    inputs, outputs = layer(CHUNK)
    sizes = [num_bytes(coded(quantise_layer(inputs, outputs, MACHINE, error))) for error in (1e-4, 1e-2, 0.2)]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


@pytest.mark.parametrize("case", ["dead input", "same inputs", "one input row", "zero outputs"])
def test_layers_without_one_answer(case):
    inputs, outputs = layer(64)
    if case == "dead input":
        inputs[:, 3] = 0
    elif case == "same inputs":
        inputs[:, 3] = inputs[:, 4]
    elif case == "one input row":
        inputs, outputs = inputs[:1], outputs[:1]
    else:
        outputs = np.zeros_like(outputs)
    reachable = inputs @ np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    quantised = quantise_layer(inputs, reachable, MACHINE, 0.01)
    assert np.square(inputs @ quantised.points * quantised.step - reachable).mean() <= 0.01


def test_the_inputs_are_left_as_they_are():
    inputs, outputs = layer(64)
    before = inputs.copy(), outputs.copy()
    quantise_layer(inputs, outputs, MACHINE, 0.01)
    np.testing.assert_array_equal(inputs, before[0])
    np.testing.assert_array_equal(outputs, before[1])
