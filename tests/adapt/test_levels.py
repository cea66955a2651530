"""Both levels through `weightzip.compress`: what they keep, what they take, and that they are the same each time."""

from pathlib import Path

import pytest
import torch
from small_tasks import KINDS, Largest
from torch import nn

import weightzip
from weightzip.errors import TargetError
from weightzip.tasks import evaluate_state

STEPS = 300


def metric_of(task, file):
    return evaluate_state(task, weightzip.restore(file))


def test_levels_keep_the_metric_in_a_file_far_below_the_default(task, state):
    plain = weightzip.compress(state, "plain.wz", task=task)
    for level in ("calibrate", "finetune"):
        adapted = weightzip.compress(state, f"{level}.wz", max_drop=2, task=task, adapt=level, steps=1000)
        assert adapted["file_bytes"] < 0.6 * plain["file_bytes"]
        assert adapted["file_bytes"] == Path(f"{level}.wz").stat().st_size
        assert metric_of(task, f"{level}.wz") == adapted["metric"]["restored"] >= adapted["metric"]["original"] - 2


def test_layer_by_layer_takes_no_steps_and_keeps_the_metric(task, state):
    default = weightzip.compress(state, "plain.wz", task=task)
    adapted = weightzip.compress(state, "adapted.wz", max_drop=2, task=task, adapt="calibrate", steps=0)
    assert adapted["file_bytes"] < 0.7 * default["file_bytes"]
    assert metric_of(task, "adapted.wz") >= evaluate_state(task, state) - 2


@pytest.mark.parametrize("level", ["calibrate", "finetune"])
def test_without_a_target_the_metric_is_that_of_the_default_quality(level, task, state):
    plain = weightzip.compress(state, "plain.wz", task=task)
    adapted = weightzip.compress(state, "adapted.wz", task=task, adapt=level, steps=STEPS)
    allowed = max(0.0, plain["metric"]["original"] - plain["metric"]["restored"])
    assert adapted["metric"]["original"] - adapted["metric"]["restored"] <= allowed
    assert adapted["file_bytes"] < plain["file_bytes"]


@pytest.mark.parametrize("steps", [0, STEPS])
def test_a_size_is_met_without_asking_for_the_metric(steps, task, state):
    summary = weightzip.compress(state, "model.wz", ratio=12, task=task, adapt="calibrate", steps=steps)
    assert 12 <= summary["ratio"] < 14
    assert task.evaluations == 2  # of the original and of the file, once it is there
    assert summary["metric"]["restored"] > 60


def test_a_size_that_is_out_of_reach_is_refused(task, state):
    with pytest.raises(TargetError, match="bytes are out of reach: the smallest file took"):
        weightzip.compress(state, "model.wz", ratio=500, task=task, adapt="finetune", steps=40)
    assert not Path("model.wz").exists()


@pytest.mark.parametrize("level", ["calibrate", "finetune"])
def test_the_same_seed_gives_the_same_bytes(level, task, state):
    for name in ("first.wz", "second.wz"):
        weightzip.compress(state, name, ratio=10, task=task, adapt=level, steps=60, seed=3)
    assert Path("first.wz").read_bytes() == Path("second.wz").read_bytes()


def test_calibration_depends_on_the_seed(task, state):
    for seed in (0, 1):
        weightzip.compress(state, f"{seed}.wz", ratio=10, task=task, adapt="calibrate", steps=60, seed=seed)
    assert Path("0.wz").read_bytes() != Path("1.wz").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["calibrate", "finetune"])
def test_modules_of_every_kind(kind, level, state_of):
    task, state = Largest(kind), state_of(kind)
    summary = weightzip.compress(state, "model.wz", ratio=2, task=task, adapt=level, steps=100)
    assert summary["ratio"] >= 2
    assert metric_of(task, "model.wz") > 40  # chance is 25
    restored = weightzip.restore("model.wz")
    assert {key: (value.shape, value.dtype) for key, value in restored.items()} == {
        key: (value.shape, value.dtype) for key, value in state.items()
    }


def test_weights_that_are_one_stay_one(state_of):
    state = state_of("tied")
    weightzip.compress(state, "model.wz", ratio=2, task=Largest("tied"), adapt="calibrate", steps=20)
    restored = weightzip.restore("model.wz")
    assert restored["first.weight"].data_ptr() == restored["second.weight"].data_ptr()


def test_half_precision_and_prefixes_are_kept(task, state):
    half = {f"module.{key}": value.half() for key, value in state.items()}
    weightzip.compress(half, "model.wz", ratio=4, task=task, adapt="calibrate", steps=100)
    restored = weightzip.restore("model.wz")
    assert {key: value.dtype for key, value in restored.items()} == dict.fromkeys(half, torch.float16)
    assert evaluate_state(task, {key.removeprefix("module."): value for key, value in restored.items()}) > 60


def test_excluded_weights_come_back_exactly(task, state):
    weightzip.compress(state, "model.wz", max_drop=5, task=task, adapt="finetune", steps=40, exclude="2.*")
    restored = weightzip.restore("model.wz")
    assert torch.equal(restored["2.weight"], state["2.weight"])
    assert not torch.equal(restored["0.weight"], state["0.weight"])


def test_a_module_as_the_source_is_left_as_it_is(task, state):
    module = task.model()
    module.load_state_dict(state)
    weightzip.compress(module, "model.wz", ratio=10, task=task, adapt="calibrate", steps=20)
    assert module.training
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(isinstance(parameter, nn.Parameter) and parameter.requires_grad for parameter in module.parameters())


def test_where_nothing_trained_passes_a_file_without_data_does(task, state):
    summary = weightzip.compress(state, "model.wz", max_drop=0, task=task, adapt="calibrate", steps=20)
    assert summary["metric"]["restored"] >= summary["metric"]["original"]
