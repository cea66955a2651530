import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import from_object
from weightzip.codec import Target, decode
from weightzip.errors import TargetError, UsageError

STATE = {"w": torch.randn(90, 100, generator=torch.Generator().manual_seed(0)), "b": torch.linspace(-1, 1, 90)}
NUM_WEIGHTS = 90 * 100 + 90


@pytest.fixture(scope="module")
def checkpoint():
    return from_object(STATE)


@pytest.mark.parametrize("ratio", [2.5, 8, 20.0, 30])
def test_a_ratio_is_met_and_not_wildly_overshot(encode_to_target, checkpoint, ratio):
    file = encode_to_target(checkpoint, Target(ratio=ratio)).pack()
    assert ratio <= 4 * NUM_WEIGHTS / len(file) < 1.03 * ratio


@pytest.mark.parametrize("bpw", [12.0, 4, 1.2])
def test_bits_per_weight_are_met_and_not_wildly_undershot(encode_to_target, checkpoint, bpw):
    file = encode_to_target(checkpoint, Target(bpw=bpw)).pack()
    assert 0.99 * bpw < 8 * len(file) / NUM_WEIGHTS <= bpw


def test_the_ratio_counts_the_sources_own_dtype(encode_to_target):
    checkpoint = from_object({"w": STATE["w"].bfloat16()})
    file = encode_to_target(checkpoint, Target(ratio=4)).pack()
    assert 4 <= 2 * 9000 / len(file) < 4.05


def test_a_larger_file_is_a_better_one(encode_to_target, checkpoint):
    errors = [encode_to_target(checkpoint, Target(ratio=ratio)).header.relative_mse for ratio in (5, 10, 20)]
    assert errors == sorted(errors)


@pytest.mark.parametrize(
    ("target", "match"), [({"ratio": 1e4}, r"4 bytes are out of reach"), ({"bpw": 0.01}, "11 bytes are out")]
)
def test_a_size_out_of_reach_says_how_close_it_came(encode_to_target, checkpoint, target, match):
    with pytest.raises(TargetError, match=match) as raised:
        encode_to_target(checkpoint, Target(**target))
    assert "the smallest file takes" in str(raised.value)
    assert raised.value.exit_code == 1


@given(
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from([1e-320, 1e-30, 1e-6, 1e-3, 0.1, 1, 3.0, 1e30, 1e308]),
    st.sampled_from([1e-30, 1e-3, 1.0, 100.0]),
    st.integers(0, 1000),
)
@settings(max_examples=80)
def test_no_weight_is_off_by_more_than_asked(encode_to_target, dtype, max_error, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    state = {
        "w": (torch.randn(12, 9, generator=generator) * scale).to(dtype),
        "b": (torch.randn(7, generator=generator).exp() * scale).to(dtype),
    }
    coded = encode_to_target(from_object(state), Target(max_error=max_error))
    restored = decode(coded.pack()).tensors
    for name, tensor in state.items():
        assert float((restored[name].double() - tensor.double()).abs().max()) <= max_error
        assert restored[name].dtype == dtype
    assert coded.header.max_abs_error <= max_error


def test_the_error_allowed_is_used(encode_to_target, checkpoint):
    coded = encode_to_target(checkpoint, Target(max_error=0.01))
    assert coded.header.exact == frozenset()
    assert 0.0099 < coded.header.max_abs_error <= 0.01
    assert 7.5 < 8 * len(coded.pack()) / NUM_WEIGHTS < 8.2  # a Gaussian takes 7.7 bits at a step of 0.02, and the header


def test_a_dtype_too_coarse_for_the_error_is_stored_exactly(encode_to_target):
    """bfloat16 near 100 has steps of a half: a weight comes back exactly or off by more than 0.3."""
    state = {"coarse": (torch.randn(20, 20) + 100).bfloat16(), "fine": torch.randn(20, 20)}
    coded = encode_to_target(from_object(state), Target(max_error=0.3))
    assert coded.header.exact == {"coarse"}


def metric(tensors):
    """Falls smoothly as the weights move away: 100 without an error."""
    return 100 - 100 * float((tensors["w"] - STATE["w"]).square().mean().sqrt())


@pytest.mark.parametrize("max_drop", [0.1, 1, 10.0])
def test_a_drop_is_kept_and_used(encode_to_target, checkpoint, max_drop):
    coded = encode_to_target(checkpoint, Target(max_drop=max_drop), evaluate=metric)
    drop = 100 - metric(decode(coded.pack()).tensors)
    assert 0.95 * max_drop < drop <= max_drop


def test_a_drop_below_zero_is_a_gain_and_passes(encode_to_target, checkpoint):
    coded = encode_to_target(checkpoint, Target(max_drop=0), evaluate=lambda tensors: -metric(tensors))
    assert len(coded.pack()) < 4 * NUM_WEIGHTS / 30  # the coarsest step is as good as any


def test_a_drop_that_only_exactness_meets_is_met_losslessly(encode_to_target, checkpoint):
    def fragile(tensors):
        return 100.0 if torch.equal(tensors["w"], STATE["w"]) else 42.5

    coded = encode_to_target(checkpoint, Target(max_drop=1), evaluate=fragile)
    assert fragile(coded.restored) == 100.0
    assert coded.header.codec == "lossless.2"


@pytest.mark.parametrize(("dtype", "max_error"), [(torch.float16, 5e-3), (torch.bfloat16, 3e-2), (torch.float32, 1e-4)])
def test_rounding_to_the_dtype_does_not_make_every_tensor_exact(encode_to_target, dtype, max_error):
    weight = torch.randn(200, 200, generator=torch.Generator().manual_seed(0)).to(dtype)
    coded = encode_to_target(from_object({"w": weight}), Target(max_error=max_error))
    assert coded.header.exact == frozenset()
    assert coded.header.max_abs_error <= max_error


def test_a_drop_needs_something_to_evaluate(encode_to_target, checkpoint):
    with pytest.raises(UsageError, match="--task"):
        encode_to_target(checkpoint, Target(max_drop=1))


def test_no_target_is_the_default_quality(encode_to_target, checkpoint):
    coded = encode_to_target(checkpoint, Target())
    assert 0.015 < coded.header.relative_mse < 0.035  # 0.3 of a deviation as the fine step: 0.3 * 0.3^2


def test_progress_tells_each_probe(encode_to_target, checkpoint):
    events = []
    encode_to_target(checkpoint, Target(ratio=10), progress=events.append)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert 3 <= len(events) <= 12
    assert all("at most 3,636 wanted" in event.detail for event in events)


@pytest.mark.parametrize(
    ("given_targets", "flags"),
    [
        ({"ratio": 2, "bpw": 3}, "--ratio and --bpw"),
        ({"max_error": 1, "max_drop": 1}, "--max-error and --max-drop"),
    ],
)
def test_targets_exclude_each_other(given_targets, flags):
    with pytest.raises(UsageError, match=f"{flags} exclude each other"):
        Target(**given_targets)


@pytest.mark.parametrize("name", ["ratio", "bpw", "max_error", "max_drop"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_target_must_be_a_positive_number(name, value):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be a positive number"):
        Target(**{name: value})


@pytest.mark.parametrize("name", ["ratio", "bpw", "max_error"])
def test_only_a_drop_may_be_zero(name):
    assert Target(max_drop=0).max_drop == 0
    with pytest.raises(UsageError, match="must be a positive number, not 0"):
        Target(**{name: 0})
