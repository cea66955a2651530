"""Layer by layer, the exact arithmetic of `weightzip.vae.exact`: against fractions, and against torch's own layers."""

import copy
import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae import Family, Prediction, Sizes, exact_decoder
from weightzip.vae.exact import exact_exp, exact_log, on_grid
from weightzip.vae.family import Log

GRID = 2.0**-16
LN2 = math.log(2)
FUNCTIONS_DIGEST = "f273b770645d35ecd6db9749aa9e9cda4df767a2c8cea8089cb19fb4f5ea29ac"
NETWORK_DIGEST = "d8af1e7d25a9045abbfd2b445e3a4f2ab78894ad416f0884ff35ed3b56ea7741"

FUNCTIONS = {
    "sigmoid": (nn.Sigmoid(), torch.sigmoid),
    "tanh": (nn.Tanh(), torch.tanh),
    "elu": (nn.ELU(), nn.functional.elu),
    "softplus": (nn.Softplus(), nn.functional.softplus),
    "log": (Log(), torch.log),
}
# Of each layer, the shape of its inputs, and which axis of its weights belongs to them.
LAYERS = {
    "linear": (nn.Linear(12, 5), (12,), 1),
    "conv1d": (nn.Conv1d(12, 5, 3, dilation=2), (12, 9), 1),
    "conv2d": (nn.Conv2d(12, 5, 3, padding=1), (12, 4, 5), 1),
    "transposed": (nn.ConvTranspose2d(12, 5, 3, padding=1), (12, 4, 5), 0),
    "without bias": (nn.Conv2d(12, 5, 3, bias=False), (12, 4, 5), 1),
}


class Only(Family):
    """A family that is nothing but its decoder."""

    name = "only"

    def __init__(self, decoder):
        super().__init__(Sizes(1, 1, 1), torch.Generator())
        self.decoder = decoder

    def posterior(self, batch):
        raise NotImplementedError

    def decode(self, latents, tensor, before):
        return Prediction(self.decoder(latents), torch.zeros(()))


def exactly(layer, inputs):
    """What a layer gives in exact arithmetic."""
    nothing = torch.zeros(len(inputs)).long()
    return exact_decoder(Only(layer)).decode(inputs, nothing, inputs).mean


def rounded(values, bits):
    """Numbers, or lists of them, as fractions on the grid of 2^-bits, halves to even."""
    if isinstance(values, list):
        return [rounded(value, bits) for value in values]
    return Fraction(round(Fraction(values) * 2**bits), 2**bits)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_linear_layer_is_the_sum_of_fractions(inputs, outputs, seed):
    """Of weights rounded to the grid of 2^-20 and inputs rounded to that of 2^-16, however many bits they have."""
    rng = np.random.default_rng(seed)
    layer = nn.Linear(inputs, outputs).double()
    for parameter in layer.parameters():
        parameter.data = torch.from_numpy(rng.normal(size=parameter.shape) * 2.0 ** rng.integers(-20, 3, parameter.shape))
    values = torch.from_numpy(rng.normal(size=(3, inputs)) * 2.0 ** rng.integers(-16, 9, (3, inputs)))
    weights, biases = rounded(layer.weight.tolist(), 20), rounded(layer.bias.tolist(), 20)
    expected = [
        [sum(w * x for w, x in zip(row, block, strict=True)) + bias for row, bias in zip(weights, biases, strict=True)]
        for block in rounded(values.tolist(), 16)
    ]
    assert exactly(layer, values).tolist() == rounded(expected, 16)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_close_to_torchs(name):
    layer, shape, _ = LAYERS[name]
    inputs = random(8, *shape)
    expected = layer(inputs.float())
    torch.testing.assert_close(exactly(layer, inputs).float(), expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "without bias"])
def test_the_order_of_channels_does_not_matter(name):
    """Floating-point sums would differ; sums of numbers on a grid do not."""
    layer, shape, axis = LAYERS[name]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    inputs, shuffled = 100 * random(64, *shape), copy.deepcopy(layer)
    shuffled.weight.data = layer.weight.data.index_select(axis, order)
    assert torch.equal(exactly(shuffled, inputs[:, order]), exactly(layer, inputs))


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_gives_and_what_it_is_given_is_cut(name):
    """Twice the largest number in the middle of each output, which is half of what would be refused."""
    layer, shape, _ = LAYERS[name]
    layer = copy.deepcopy(layer)
    nn.init.constant_(layer.weight, 2 * 5 / layer.weight.numel())
    for value in (2.0**15, 1e300, math.inf):
        given = exactly(layer, torch.full((1, *shape), value, dtype=torch.float64))
        assert given.max() == 2**15
        assert (exactly(layer, torch.full((1, *shape), -value, dtype=torch.float64)).min()) == -(2**15)


def test_any_number_of_threads_gives_the_same_bits():
    """Of sums long enough to be shared among them."""
    network = nn.Sequential(nn.Linear(1000, 600), nn.Tanh(), nn.Linear(600, 300))
    results = []
    for threads in (1, 2):
        with limited_threads(threads):
            results.append(exactly(network, random(200, 1000)))
    assert torch.equal(*results)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_refused_just_where_a_sum_could_be_too_large(name):
    """Sums below 2^17 are exact; whether one is reached is judged by the largest input and the weights of an output."""
    layer, shape, _ = LAYERS[name]
    layer, largest = copy.deepcopy(layer), torch.full((1, *shape), 2.0**15, dtype=torch.float64)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    nn.init.constant_(layer.weight, 3.99 * 5 / layer.weight.numel())
    assert exactly(layer, largest).max() == 2**15
    nn.init.constant_(layer.weight, 4.01 * 5 / layer.weight.numel())
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        exactly(layer, largest)


def test_a_bias_counts_towards_what_is_too_large():
    layer = nn.Linear(4, 2)
    nn.init.constant_(layer.weight, 1.0)
    inputs = torch.full((1, 4), 2.0**15 - 1, dtype=torch.float64)
    nn.init.constant_(layer.bias, -3.0)
    assert exactly(layer, inputs).tolist() == [[2.0**15] * 2]
    nn.init.constant_(layer.bias, -4.0)
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        exactly(layer, inputs)


@pytest.mark.parametrize(("norm", "shape"), [(nn.BatchNorm1d(6), (6,)), (nn.BatchNorm2d(6), (6, 3, 4))])
def test_batch_norms_are_close_to_torchs(norm, shape):
    generator = torch.Generator().manual_seed(0)
    for values in (norm.weight.data, norm.bias.data, norm.running_mean):
        values.normal_(generator=generator)
    norm.running_var.uniform_(0.2, 3, generator=generator)
    inputs = random(8, *shape)
    torch.testing.assert_close(exactly(norm, inputs).float(), norm.eval()(inputs.float()), rtol=0, atol=1e-4)


def test_batch_norms_too_large_are_refused():
    norm = nn.BatchNorm1d(6)
    norm.weight.data[3] = 1e6
    with pytest.raises(FormatError, match="too large for exact arithmetic"):
        exactly(norm, random(8, 6))


def test_group_norms_are_close_to_torchs():
    norm = nn.GroupNorm(1, 64)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    inputs = 3 * random(100, 64) + 20
    torch.testing.assert_close(exactly(norm, inputs).float(), norm(inputs.float()), rtol=0, atol=2e-4)


def test_the_order_of_a_group_norms_channels_does_not_matter():
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    inputs = 30 * random(100, 64)
    assert torch.equal(exactly(nn.GroupNorm(1, 64), inputs[:, order]), exactly(nn.GroupNorm(1, 64), inputs)[:, order])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_torchs_to_the_nearest_point_of_the_grid(name):
    module, function = FUNCTIONS[name]
    inputs = torch.arange(-(2**21), 2**21, 37, dtype=torch.float64)[:, None] * GRID  # within 32
    if name == "log":
        inputs = inputs[inputs > 0][:, None]
    given = exactly(module, inputs)
    assert (given - function(inputs)).abs().max() <= 0.5001 * GRID
    assert torch.equal(given, on_grid(given))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_largest_numbers(name):
    module, function = FUNCTIONS[name]
    inputs = torch.tensor([[GRID], [41.0], [1000.0], [2.0**15], [2.0**15 - GRID]], dtype=torch.float64)
    inputs = inputs if name == "log" else torch.cat([inputs, -inputs])
    assert (exactly(module, inputs) - function(inputs)).abs().max() <= 0.5001 * GRID


@given(st.floats(-1e300, 1e300))
def test_the_grid(value):
    (point,) = on_grid(torch.tensor([value], dtype=torch.float64)).tolist()
    assert (point / GRID).is_integer()
    assert point == max(-(2.0**15), min(2.0**15, rounded(max(-1e6, min(1e6, value)), 16)))


def exponential(value):
    return float(exact_exp(torch.tensor(value, dtype=torch.float64)))


def logarithm(value):
    return float(exact_log(torch.tensor(value, dtype=torch.float64)))


exponents = st.floats(-40, 40)
positive = st.floats(1e-300, 1e300)


@given(exponents)
def test_exponentials_are_those_of_torch(value):
    assert exponential(value) == pytest.approx(math.exp(value), rel=1e-13)
    assert exponential(value) == pytest.approx(float(torch.tensor(value, dtype=torch.float64).exp()), rel=1e-13)


@given(positive)
def test_logarithms_are_those_of_torch(value):
    assert logarithm(value) == pytest.approx(math.log(value), rel=1e-13)
    assert logarithm(value) == pytest.approx(float(torch.tensor(value, dtype=torch.float64).log()), rel=1e-13)


def test_both_are_those_of_torch_at_many_points():
    """From one octave's end to the other, where the series are farthest from their middle."""
    octave = torch.linspace(0.5, 1, 100_001, dtype=torch.float64)
    torch.testing.assert_close(exact_log(octave), torch.log(octave), rtol=1e-14, atol=0)
    exponents = torch.linspace(-40, 40, 100_001, dtype=torch.float64)
    torch.testing.assert_close(exact_exp(exponents), torch.exp(exponents), rtol=1e-14, atol=0)


@given(st.floats(-1e-3, 1e-3))
def test_logarithms_near_one_lose_no_digits(difference):
    """Where the result is small, so is its error."""
    value = 1.0 + difference
    assert logarithm(value) == pytest.approx(math.log(value), rel=1e-13)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_the_exponential_of_a_sum_is_a_product(first, second):
    assert exponential(first + second) == pytest.approx(exponential(first) * exponential(second), rel=1e-13)


@given(exponents, st.floats(1e-9, 1))
def test_the_exponential_grows(value, step):
    assert exponential(min(value + step, 40.0)) >= exponential(value) > 0
    assert value + step > 40 or exponential(value + step) > exponential(value)


@given(exponents)
def test_the_logarithm_undoes_the_exponential(value):
    assert logarithm(exponential(value)) == pytest.approx(value, rel=1e-13, abs=1e-13)


@given(st.integers(-1000, 1000))
def test_the_logarithm_of_a_power_of_two(exponent):
    assert logarithm(2.0**exponent) == exponent * LN2


@given(st.floats(1.0, 2.0), st.integers(-900, 900))
def test_a_power_of_two_adds_its_logarithm(value, exponent):
    assert logarithm(value * 2.0**exponent) == pytest.approx(logarithm(value) + exponent * LN2, rel=1e-13, abs=1e-13)


def test_what_zero_and_one_give_is_exact():
    assert exponential(0.0) == 1
    assert logarithm(1.0) == 0


@given(st.floats(40, 1e300))
def test_exponents_beyond_forty_are_cut(value):
    assert exponential(value) == exponential(40.0)
    assert exponential(-value) == exponential(-40.0)


def test_the_bits_of_both_are_those_of_every_machine():
    exponents = torch.arange(-40_000, 40_001, dtype=torch.float64) * 2.0**-10
    bits = torch.cat([exact_exp(exponents), exact_log(exponents[40_001:])]).view(torch.int64)
    assert hashlib.sha256(bits.numpy().astype("<i8").tobytes()).hexdigest() == FUNCTIONS_DIGEST


def test_the_bits_are_those_of_every_machine():
    """A digest of what a network of every kind of layer gives, its weights and inputs being integers over powers of two."""
    convolutions = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ELU(), nn.ConvTranspose2d(4, 2, 3, padding=1)]
    flat = [nn.Flatten(), nn.GroupNorm(1, 24), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 16)]
    ends = [nn.Sigmoid(), nn.Unflatten(1, (2, 8)), nn.Conv1d(2, 3, 3), nn.LeakyReLU(1 / 8), nn.Softplus(), Log()]
    network = nn.Sequential(nn.Linear(8, 12), nn.Unflatten(1, (1, 3, 4)), *convolutions, *flat, *ends)
    rng = np.random.default_rng(0)
    for values in network.state_dict().values():
        if values.is_floating_point():
            values.copy_(torch.from_numpy(rng.integers(1, 2**11, values.shape) * 2.0**-10 - 0.75))
    network[3].running_var.abs_()
    network[9].running_var.abs_()
    given = exactly(network, torch.from_numpy(rng.integers(-(2**18), 2**18, (50, 8)) * 2.0**-16))
    units = (given * 2**16).to(torch.int64).numpy().astype("<i8")
    assert len(np.unique(units)) > 300
    assert hashlib.sha256(units.tobytes()).hexdigest() == NETWORK_DIGEST
