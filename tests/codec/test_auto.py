import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, encode
from weightzip.codec.auto import BoundedCodec
from weightzip.entropy import encode_integers
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.quantise import TRADEOFF

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DISTRIBUTIONS = {
    "gaussian": lambda n: torch.randn(n),
    "constant": lambda n: torch.full((n,), 0.37),
    "all zero": lambda n: torch.zeros(n),
    "one outlier": lambda n: torch.cat([torch.randn(n)[1:], torch.full((min(n, 1),), 3e4)]),
    "heavy tails": lambda n: torch.randn(n) / torch.randn(n).abs().clamp_min(1e-3),
    "integers": lambda n: torch.randint(-5, 6, (n,)).float(),
    "subnormal": lambda n: torch.randn(n) * 1e-41,
    "sparse": lambda n: torch.randn(n) * (torch.rand(n) < 0.1),
    "two scales": lambda n: torch.randn(n) * torch.where(torch.arange(n) % 2 == 0, 1e-3, 1.0),
}


def specs_of(tensors):
    return [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]


def recode(tensors, codec):
    return AutoCodec.decode(codec.encode(tensors), specs_of(tensors))


@given(
    st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=4),
    st.sampled_from(sorted(DISTRIBUTIONS)),
    st.sampled_from(DTYPES),
)
@settings(max_examples=60)
def test_any_shape_distribution_and_dtype_comes_back(through_bytes, shapes, distribution, dtype):
    state = {f"t{k}": DISTRIBUTIONS[distribution](math.prod(shape)).reshape(shape).to(dtype) for k, shape in enumerate(shapes)}
    decoded = through_bytes(state, AutoCodec())
    assert list(decoded.tensors) == list(state)
    for name, tensor in state.items():
        restored = decoded.tensors[name]
        assert (restored.shape, restored.dtype) == (tensor.shape, tensor.dtype)
        assert torch.isfinite(restored).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distribution", ["gaussian", "heavy tails", "one outlier", "two scales"])
def test_the_error_is_that_of_the_step(through_bytes, distribution, dtype):
    """With rounding, no weight of a matrix is off by more than half a step of its deviation (and the dtype's precision)."""
    weights = DISTRIBUTIONS[distribution](1200).reshape(30, 40).to(dtype)
    decoded = through_bytes({"w": weights}, AutoCodec(step=0.25, tradeoff=0.0))
    deviation = float(weights.double().square().mean().sqrt())
    error = (decoded.tensors["w"].double() - weights.double()).abs()
    limit = 0.125 * deviation * 1.0001 + weights.double().abs() * torch.finfo(dtype).eps
    assert (error <= limit).all()
    assert float(error.max()) > 0.1 * deviation  # the step is really as coarse as was asked


def test_the_size_is_near_what_rate_distortion_theory_allows():
    """At a step of a quarter deviation a Gaussian takes log2(sqrt(2 pi e) / 0.25) = 4.05 bits; the price of bits saves some."""
    weights = {"w": torch.randn(400, 500)}
    payload = AutoCodec(step=0.25, tradeoff=0.0).encode(weights)
    bits = 8 * sum(map(len, payload.sections.values())) / 200_000
    assert 4.04 < bits < 4.07
    cheaper = AutoCodec(step=0.25).encode(weights)
    assert sum(map(len, cheaper.sections.values())) < 0.999 * sum(map(len, payload.sections.values()))


def test_the_price_of_bits_lowers_error_plus_bits():
    weights = {"w": torch.randn(200, 200)}
    costs = []
    for tradeoff in (0.0, TRADEOFF):
        codec = AutoCodec(step=0.5, tradeoff=tradeoff)
        payload = codec.encode(weights)
        error = AutoCodec.decode(payload, specs_of(weights))["w"] - weights["w"]
        step = payload.meta["step"]
        costs.append(float((error / step).square().sum()) + TRADEOFF * 8 * len(payload.sections["symbols"]))
    assert costs[1] < 0.997 * costs[0]


def largest_error(tensors, restored, name):
    return float((restored[name] - tensors[name]).abs().max())


def test_matrices_of_like_deviation_share_one_step():
    tensors = {"a": torch.randn(60, 60), "b": 0.8 * torch.randn(50, 50), "c": 1.5 * torch.randn(40, 40)}
    payload = AutoCodec(step=0.5, tradeoff=0.0).encode(tensors)
    restored = AutoCodec.decode(payload, specs_of(tensors))
    for name in tensors:
        assert 0.45 * payload.meta["step"] < largest_error(tensors, restored, name) <= 0.5 * payload.meta["step"] * 1.0001


def test_a_matrix_far_larger_or_smaller_keeps_a_step_within_reach_of_its_own_deviation():
    tensors = {"usual": torch.randn(90, 90), "large": 1e4 * torch.randn(50, 50), "small": 1e-4 * torch.randn(50, 50)}
    restored = recode(tensors, AutoCodec(step=0.5, tradeoff=0.0))
    assert 0.2 < largest_error(tensors, restored, "usual") < 0.3
    assert 200 < largest_error(tensors, restored, "large") < 450  # an eighth of a step by its own deviation: 625 / 2
    assert 3e-5 < largest_error(tensors, restored, "small") < 6e-5  # twice such a step: 1e-4 / 2


def test_a_batch_norm_s_variances_spoil_neither_the_weights_nor_each_other():
    generator = torch.Generator().manual_seed(0)
    variances = torch.exp(3 * torch.randn(256, generator=generator)) * 1e4
    tensors = {"conv": 0.05 * torch.randn(64, 64, 3, 3, generator=generator), "running_var": variances}
    restored = recode(tensors, AutoCodec())
    assert float((restored["conv"] - tensors["conv"]).square().mean() / tensors["conv"].square().mean()) < 0.03
    relative = (restored["running_var"] / variances - 1).abs()
    assert float(relative.max()) < 0.04


def test_vectors_are_never_coarser_than_at_the_default_quality():
    bias = {"w": torch.randn(50, 50), "bias": torch.randn(50)}
    coarse, usual = (recode(bias, AutoCodec(step=step, tradeoff=0.0)) for step in (4.0, 0.5))
    assert largest_error(bias, coarse, "bias") < 2 * largest_error(bias, usual, "bias")


def test_bounds_hold_for_each_tensor():
    tensors = {"a": 100 * torch.randn(30, 30), "b": torch.randn(300), "c": torch.randn(30, 30)}
    restored = recode(tensors, BoundedCodec({"a": 0.01, "b": 0.0099, "c": 0.003}))
    errors = {name: float((restored[name] - tensor).abs().max()) for name, tensor in tensors.items()}
    assert 0.0097 < errors["a"] <= 0.0099 + 1e-5  # shares the step of b, whose bound is nearly the same
    assert 0.0097 < errors["b"] <= 0.0099 + 1e-6
    assert 0.0024 < errors["c"] <= 0.003


def test_coding_what_was_decoded_loses_nothing_more():
    tensors = {"a": torch.randn(30, 30)}
    codec = BoundedCodec({"a": 0.0625})
    once = recode(tensors, codec)
    assert torch.equal(recode(once, codec)["a"], once["a"])


def test_zeros_stay_zeros_and_cost_next_to_nothing():
    tensors = {"a": torch.zeros(1000, 1000)}
    payload = AutoCodec().encode(tensors)
    assert not AutoCodec.decode(payload, specs_of(tensors))["a"].any()
    assert sum(map(len, payload.sections.values())) < 60


def test_the_input_is_left_as_it_is():
    tensors = {"a": torch.randn(20, 20).T, "b": torch.randn(5)}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    AutoCodec().encode(tensors)
    assert all(torch.equal(tensors[name], before[name]) for name in tensors)


def test_the_same_input_gives_the_same_bytes():
    state = from_object({"a": torch.randn(20, 20), "b": torch.randn(5)})
    assert encode(state, AutoCodec()).pack() == encode(state, AutoCodec()).pack()


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30, 3e38])
def test_extreme_magnitudes(through_bytes, scale):
    weights = torch.rand(20, 20) * scale
    decoded = through_bytes({"w": weights}, AutoCodec())
    assert torch.isfinite(decoded.tensors["w"]).all()
    assert float((decoded.tensors["w"] - weights).abs().max()) <= max(0.6 * scale, 1.5e-45)


SPECS = [TensorSpec("w", (2, 3), "float32")]


@pytest.fixture
def payload():
    return AutoCodec().encode({"w": torch.randn(2, 3)})


@pytest.mark.parametrize("step", [None, 1, "1", True, 0.0, -1.0, math.nan, math.inf])
def test_a_malformed_step_is_refused(payload, step):
    with pytest.raises(FormatError, match="exactly a positive step size"):
        AutoCodec.decode(Payload(payload.sections, {"step": step}), SPECS)


def test_an_unknown_field_is_refused(payload):
    with pytest.raises(FormatError, match="exactly a positive step size"):
        AutoCodec.decode(Payload(payload.sections, {**payload.meta, "more": 1}), SPECS)


@pytest.mark.parametrize("section", ["scales", "steps", "symbols"])
def test_a_missing_section_is_refused(payload, section):
    del payload.sections[section]
    with pytest.raises(FormatError, match="exactly the sections"):
        AutoCodec.decode(payload, SPECS)


def test_a_further_section_is_refused(payload):
    payload.sections["more"] = b""
    with pytest.raises(FormatError, match="exactly the sections"):
        AutoCodec.decode(payload, SPECS)


def test_a_step_code_out_of_range_is_refused(payload):
    payload.sections["steps"] = encode_integers([4 * 401])
    with pytest.raises(FormatError, match="step size is out of range"):
        AutoCodec.decode(payload, SPECS)


@pytest.mark.parametrize(("step", "code"), [(1e308, 4), (1.7e308, 3), (1.0, 4 * 400 + 3 + 1)])
def test_a_step_beyond_all_numbers_is_refused(payload, step, code):
    payload.sections["steps"] = encode_integers([code])
    with pytest.raises(FormatError, match="step size is out of range"):
        AutoCodec.decode(Payload(payload.sections, {"step": step}), SPECS)


def test_an_empty_tensor_with_an_enormous_side_costs_no_time(payload):
    """A shape like [2^40, 0] has no elements, but would have 2^40 rows."""
    empty = AutoCodec().encode({"w": torch.zeros(5, 0)})
    assert AutoCodec.decode(empty, [TensorSpec("w", (2**40, 0), "float32")])["w"].shape == (2**40, 0)


def test_numpy_is_not_asked_to_warn():
    with np.errstate(all="raise"):
        BoundedCodec({"w": 1e-300}).encode({"w": torch.randn(4, 4)})
