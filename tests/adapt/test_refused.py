"""What does not go together, and tasks that fail: one line that says what to do, and no file."""

import math
from pathlib import Path

import pytest
import torch
from small_tasks import Largest

import weightzip
from weightzip.errors import CheckpointError, TaskError, UsageError


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert not list(Path().glob("*.wz"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapt": "calibrate"}, "--adapt calibrate needs a task"),
        ({"adapt": "finetune", "lossless": True}, "--lossless stands alone"),
        ({"adapt": "finetune", "max_error": 0.1}, "--max-error makes no sense"),
        ({"adapt": "finetune", "preset": "paper"}, "leave out --preset paper"),
        ({"adapt": "guess"}, "unknown adaptation 'guess'; use one of none, calibrate, finetune"),
        ({"steps": 10}, "--steps is for adaptations"),
        ({"adapt": "calibrate", "steps": -1}, "--steps must not be negative"),
    ],
)
def test_options_that_do_not_go_together(options, words, task, state):
    given = {} if "needs a task" in words else {"task": task}
    with pytest.raises(UsageError, match=words):
        weightzip.compress(state, "model.wz", **given, **options)


def refused(task, state, level, error, words):
    with pytest.raises(error, match=words):
        weightzip.compress(state, "model.wz", ratio=8, task=task, adapt=level, steps=40)


def task_with(**members):
    """The task with other methods, or without those that are None."""
    attributes = {name: value for name, value in members.items() if value is not None}
    own = {name: value for name, value in vars(Largest).items() if name not in members}
    return type("Task", (), {**own, **attributes})(name="mine")


def raising(*_):
    raise ValueError("no data\nat all")


def test_a_task_without_inputs(state):
    refused(task_with(calibration=None), state, "calibrate", UsageError, r"task mine has no calibration\(\)")


def test_fine_tuning_without_training_data_or_loss_matches_the_original(state):
    for missing in ("training", "loss"):
        inputs = lambda self: Largest().calibration()  # noqa: E731
        task = task_with(**{missing: None, "calibration": inputs})
        summary = weightzip.compress(state, "model.wz", ratio=8, task=task, adapt="finetune", steps=40)
        Path("model.wz").unlink()
        assert summary["ratio"] >= 8


@pytest.mark.parametrize(
    ("members", "level", "words"),
    [
        ({"calibration": raising}, "calibrate", r"calibration\(\) raised ValueError: no data"),
        ({"training": raising}, "finetune", r"training\(\) raised ValueError: no data"),
        ({"calibration": lambda _: []}, "calibrate", r"calibration\(\) gave nothing"),
        ({"training": lambda _: []}, "finetune", r"training\(\) gave nothing"),
        ({"training": lambda _: [torch.zeros(3, 16)]}, "finetune", r"training\(\) must give pairs"),
        ({"calibration": lambda _: [torch.zeros(5, 3)]}, "calibrate", r"calibration\(\) gives \(5x3\)"),
        ({"training": lambda _: [(torch.zeros(5, 3), torch.zeros(5).long())]}, "finetune", r"training\(\) gives \(5x3\)"),
        ({"loss": raising}, "finetune", r"loss\(\) raised ValueError: no data"),
        ({"loss": lambda *_: 1.0}, "finetune", r"loss\(\) must give a scalar tensor"),
        ({"loss": lambda _, outputs, __: outputs.sum() * math.nan}, "finetune", "is not a finite number"),
        ({"model": raising}, "calibrate", r"model\(\) raised ValueError: no data"),
    ],
)
def test_a_task_that_fails(members, level, words, state):
    refused(task_with(**members), state, level, TaskError, words)


def test_weights_of_another_module(task, state):
    refused(task, {**state, "5.weight": torch.zeros(3)}, "calibrate", CheckpointError, "unexpected: 5.weight")
    other = {key: value for key, value in state.items() if key != "2.bias"}
    refused(task, other, "calibrate", CheckpointError, "missing: 2.bias")


def test_a_loss_that_stops_being_a_number_is_stepped_back_from(state):
    calls = []

    def loss(_, outputs, targets):
        calls.append(0)
        cross_entropy = torch.nn.functional.cross_entropy(outputs, targets)
        return cross_entropy * math.nan if len(calls) == 50 else cross_entropy

    summary = weightzip.compress(state, "model.wz", ratio=8, task=task_with(loss=loss), adapt="finetune", steps=100)
    Path("model.wz").unlink()
    assert summary["ratio"] >= 8
    assert summary["metric"]["restored"] > 60
    assert len(calls) > 100  # what came after the last look was done again


def test_a_loss_that_never_is_a_number_again_ends_at_the_last_good_model(state):
    calls = []

    def loss(_, outputs, targets):
        calls.append(0)
        cross_entropy = torch.nn.functional.cross_entropy(outputs, targets)
        return cross_entropy * math.nan if len(calls) > 90 else cross_entropy

    summary = weightzip.compress(state, "model.wz", ratio=8, task=task_with(loss=loss), adapt="finetune", steps=100)
    Path("model.wz").unlink()
    assert summary["metric"]["restored"] > 60
