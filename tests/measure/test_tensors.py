"""Tensor by tensor: what a file takes for each, what was lost, and how values lie before and after."""

import math

import pytest
import torch

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, LosslessCodec, decode, encode
from weightzip.measure.tensors import Originals

STATE = {
    "heavy": torch.cat([torch.linspace(-1, 1, 9998), torch.tensor([-500.0, 500.0])]).reshape(100, 100),
    "brain": torch.linspace(0, 1, 61).bfloat16(),
    "alike": torch.full((30,), -2.0),
    "broken": torch.tensor([1.0, math.inf, math.nan, 2.0]),
    "ids": torch.arange(5),
    "none": torch.zeros(0, 3),
}


@pytest.fixture(scope="module")
def decoded():
    return decode(encode(from_object(STATE), AutoCodec(0.5)).pack())


@pytest.fixture(scope="module")
def tensors(decoded):
    stored = {name: float(number) for number, name in enumerate(STATE)}
    return {share.name: share for share in Originals(STATE).shares(decoded, stored)}


def test_what_tensors_are_and_take(tensors):
    told = [(share.name, share.shape, share.dtype, share.coding, share.num_elements) for share in tensors.values()]
    assert told == [
        ("heavy", (100, 100), "float32", "lossy", 10_000),
        ("brain", (61,), "bfloat16", "lossy", 61),
        ("alike", (30,), "float32", "lossy", 30),
        ("broken", (4,), "float32", "exact", 4),
        ("ids", (5,), "int64", "exact", 5),
        ("none", (0, 3), "float32", "lossy", 0),
    ]
    assert [share.stored_bytes for share in tensors.values()] == [0, 1, 2, 3, 4, 5]
    assert tensors["broken"].bits_per_element == 6.0


def test_losses_are_each_tensors_own(decoded, tensors):
    error = (decoded.tensors["heavy"] - STATE["heavy"]).double()
    assert tensors["heavy"].max_abs_error == pytest.approx(float(error.abs().max()))
    power = float(STATE["heavy"].double().square().sum())
    assert tensors["heavy"].relative_mse == pytest.approx(float(error.square().sum()) / power)
    assert (tensors["broken"].relative_mse, tensors["broken"].max_abs_error) == (0.0, 0.0)
    assert math.isnan(tensors["ids"].relative_mse)
    assert math.isnan(tensors["none"].max_abs_error)


def test_bins_show_the_shape_and_outliers_are_at_the_ends(tensors):
    found = tensors["heavy"].histogram
    assert (found.low, found.high) == pytest.approx((-1, 1), rel=0.01)
    assert sum(found.before) == sum(found.after) == 10_000
    assert all(count == pytest.approx(10_000 / 61, rel=0.05) for count in found.before)
    broken = tensors["broken"].histogram
    assert (sum(broken.before), broken.before[0], broken.before[-1]) == (3, 1, 2)  # infinity at the end, NaN nowhere


def test_what_is_all_alike_lies_in_the_middle(tensors):
    found = tensors["alike"].histogram
    assert found.low < -2 < found.high
    assert found.before[len(found.before) // 2] == 30


@pytest.mark.parametrize(
    "values", [[-1.7e308, 1.7e308], [1.7e308] * 4, [5e-324] * 4, [0.0, 5e-324], [1e-310, 3e-310], [-math.inf, 0.0, 1e308]]
)
def test_every_float64_has_its_bin(values):
    source = {"a": torch.tensor(values, dtype=torch.float64)}
    decoded = decode(encode(from_object(source), LosslessCodec()).pack())
    (share,) = Originals(source).shares(decoded, {"a": 1.0})
    assert -math.inf < share.histogram.low < share.histogram.high < math.inf
    assert sum(share.histogram.before) == sum(share.histogram.after) == len(values)


def test_no_weights_no_histogram(tensors):
    assert tensors["ids"].histogram is None
    assert tensors["none"].histogram is None


def test_bins_are_the_same_for_all_files(decoded):
    originals = Originals(STATE)
    stored = dict.fromkeys(STATE, 1.0)
    coarse = decode(encode(from_object(STATE), AutoCodec(2.0)).pack())
    for first, second in zip(originals.shares(decoded, stored), originals.shares(coarse, stored), strict=True):
        if first.histogram is not None:
            assert (first.histogram.low, first.histogram.before) == (second.histogram.low, second.histogram.before)
    assert originals.shares(decoded, stored)[0].histogram.after != originals.shares(coarse, stored)[0].histogram.after
