import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, encode
from weightzip.codec.auto import BoundedCodec
from weightzip.codec.steps import Magnitudes
from weightzip.entropy import encode_integers
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec

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
@pytest.mark.parametrize("distribution", ["gaussian", "heavy tails", "two scales"])
def test_the_error_is_that_of_the_step(through_bytes, distribution, dtype):
    """Trellis-coded errors have a variance of about 0.3 squared fine steps (less where most values round to nothing)."""
    weights = DISTRIBUTIONS[distribution](12_000).reshape(100, 120).to(dtype)
    deviation = float(weights.double().square().mean().sqrt())
    decoded = through_bytes({"w": weights}, AutoCodec(step=0.1))
    error = (decoded.tensors["w"].double() - weights.double()) / (0.1 * deviation)
    rounding = (weights.double().abs() * torch.finfo(dtype).eps / (0.1 * deviation)).square().mean()
    assert float(error.square().mean() - rounding) < 0.4
    assert float(error.square().mean()) > 0.03  # the step is really as coarse as was asked


@pytest.mark.parametrize(("step", "gap"), [(0.1, 0.04), (0.3, 0.06), (0.6, 0.08)])
def test_the_size_is_near_what_rate_distortion_theory_allows(step, gap):
    """A Gaussian takes 1/2 log2(variance / error) bits at least; scalar quantisation is 0.25 bit above that."""
    weights = {"w": torch.randn(400, 500)}
    payload = AutoCodec(step=step).encode(weights)
    error = AutoCodec.decode(payload, specs_of(weights))["w"] - weights["w"]
    bits = 8 * sum(map(len, payload.sections.values())) / 200_000
    bound = 0.5 * math.log2(1 / float(error.square().mean()))
    assert bound < bits < bound + gap + 0.02


def test_correlated_weights_take_fewer_bits():
    """Filters of smooth taps: a transform finds them, and its basis is paid for."""
    smooth = torch.cumsum(torch.randn(64, 64, 16), dim=2)
    shuffled = smooth.reshape(-1)[torch.randperm(smooth.numel())].reshape(smooth.shape)
    sizes = [sum(map(len, AutoCodec(step=0.3).encode({"w": w}).sections.values())) for w in (smooth, shuffled)]
    assert sizes[0] < 0.75 * sizes[1]


def largest_error(tensors, restored, name):
    return float((restored[name] - tensors[name]).abs().max())


def mean_square(tensors, restored, name):
    return float((restored[name] - tensors[name]).square().mean())


def test_matrices_of_like_deviation_share_one_step():
    tensors = {"a": torch.randn(60, 60), "b": 0.8 * torch.randn(50, 50), "c": 1.5 * torch.randn(40, 40)}
    payload = AutoCodec(step=0.1).encode(tensors)
    restored = AutoCodec.decode(payload, specs_of(tensors))
    for name in tensors:
        assert 0.2 < mean_square(tensors, restored, name) / payload.meta["step"] ** 2 < 0.33


def test_a_matrix_far_larger_or_smaller_keeps_a_step_within_reach_of_its_own_deviation():
    tensors = {"usual": torch.randn(90, 90), "large": 1e4 * torch.randn(50, 50), "small": 1e-4 * torch.randn(50, 50)}
    restored = recode(tensors, AutoCodec(step=0.2))
    roots = {name: math.sqrt(mean_square(tensors, restored, name)) for name in tensors}
    assert 0.09 < roots["usual"] < 0.12
    assert 110 < roots["large"] < 150  # an eighth of a step by its own deviation, 250, times the root of 0.25 to 0.33
    assert 1.7e-5 < roots["small"] < 2.4e-5  # twice such a step, 4e-5


def test_a_batch_norm_s_variances_spoil_neither_the_weights_nor_each_other():
    generator = torch.Generator().manual_seed(0)
    variances = torch.exp(2.5 * torch.randn(256, generator=generator)) * 1e4
    tensors = {"conv": 0.05 * torch.randn(64, 64, 3, 3, generator=generator), "running_var": variances}
    restored = recode(tensors, AutoCodec())
    assert float((restored["conv"] - tensors["conv"]).square().mean() / tensors["conv"].square().mean()) < 0.04
    relative = (restored["running_var"] / variances - 1).abs()
    assert float(relative.max()) < 0.06


def test_no_vector_is_coarser_than_the_matrices():
    """Where errors are summed over all tensors, those of large vectors must not drown all others."""
    tensors = {"w": torch.randn(50, 50), "running_var": 1e5 * torch.rand(64)}
    restored = recode(tensors, AutoCodec(step=0.3))
    assert mean_square(tensors, restored, "running_var") < 4 * mean_square(tensors, restored, "w")


def test_vectors_are_never_coarser_than_at_the_default_quality():
    bias = {"w": torch.randn(50, 50), "bias": torch.randn(50)}
    coarse, usual = (recode(bias, AutoCodec(step=step)) for step in (4.0, 0.3))
    assert mean_square(bias, coarse, "bias") < 2 * mean_square(bias, usual, "bias")


def test_a_shift_moves_one_tensor_s_step():
    tensors = {"a": torch.randn(60, 60), "b": torch.randn(60, 60)}
    plain, moved = (recode(tensors, AutoCodec(step=0.1, shifts=shifts)) for shifts in ({}, {"b": -8}))
    assert mean_square(tensors, moved, "a") == pytest.approx(mean_square(tensors, plain, "a"), rel=0.1)
    assert mean_square(tensors, moved, "b") == pytest.approx(mean_square(tensors, plain, "b") / 16, rel=0.2)


def test_bounds_hold_for_each_tensor():
    tensors = {"a": 100 * torch.randn(30, 30), "b": torch.randn(300), "c": torch.randn(30, 30)}
    restored = recode(tensors, BoundedCodec({"a": 0.01, "b": 0.0099, "c": 0.003}))
    errors = {name: float((restored[name] - tensor).abs().max()) for name, tensor in tensors.items()}
    assert 0.0097 < errors["a"] <= 0.0099 + 1e-5  # shares the step of b, whose bound is nearly the same
    assert 0.0097 < errors["b"] <= 0.0099 + 1e-6
    assert 0.0024 < errors["c"] <= 0.003


class Counted(dict):
    """Tells how often all of it was looked at."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.times = 0

    def __iter__(self):
        self.times += 1
        return super().__iter__()

    def values(self):
        self.times += 1
        return super().values()

    items = values


def test_a_part_takes_no_time_for_the_tensors_of_others():
    tensors = {name: torch.randn(30, 30) for name in "abc"}
    settled = AutoCodec().settled({name: Magnitudes.of(tensor) for name, tensor in tensors.items()})
    names, bounds = Counted.fromkeys("abc"), Counted(dict.fromkeys("abc", 0.1))
    for codec, counted in ((replace(settled, names=names), names), (BoundedCodec(bounds), bounds)):
        for name, tensor in tensors.items():
            codec.encode({name: tensor})
        assert counted.times == 1


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
        AutoCodec.decode(Payload(payload.sections, {**payload.meta, "step": step}), SPECS)


@pytest.mark.parametrize("states", [None, 0, 2, 8, "256", True])
def test_a_machine_that_is_not_known_is_refused(payload, states):
    with pytest.raises(FormatError, match="machine must have 1 or 256 states"):
        AutoCodec.decode(Payload(payload.sections, {**payload.meta, "states": states}), SPECS)


def test_an_unknown_field_is_refused(payload):
    with pytest.raises(FormatError, match="exactly a positive step size"):
        AutoCodec.decode(Payload(payload.sections, {**payload.meta, "more": 1}), SPECS)


@pytest.mark.parametrize("section", ["model", "steps", "symbols"])
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
        AutoCodec.decode(Payload(payload.sections, {**payload.meta, "step": step}), SPECS)


def test_an_empty_tensor_with_an_enormous_side_costs_no_time(payload):
    """A shape like [2^40, 0] has no elements, but would have 2^40 rows."""
    empty = AutoCodec().encode({"w": torch.zeros(5, 0)})
    assert AutoCodec.decode(empty, [TensorSpec("w", (2**40, 0), "float32")])["w"].shape == (2**40, 0)


def test_numpy_is_not_asked_to_warn():
    with np.errstate(all="raise"):
        BoundedCodec({"w": 1e-300}).encode({"w": torch.randn(4, 4)})
