"""Losses, batches and metrics that are not as one would wish."""

import math
from pathlib import Path

import pytest
import torch
from small_tasks import Largest
from torch.utils.data import DataLoader, TensorDataset

import weightzip


class Scaled(Largest):
    """The task with its loss in another unit."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def loss(self, outputs, targets):
        return self.scale * super().loss(outputs, targets)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_the_unit_of_the_loss_does_not_matter(scale, state):
    summary = weightzip.compress(state, "model.wz", ratio=15, task=Scaled(scale), adapt="finetune", steps=300)
    assert summary["ratio"] >= 15
    assert summary["metric"]["restored"] > 80


class Batches(Largest):
    """The task with a loss that the number of the batch has a say in."""

    def __init__(self, change):
        super().__init__()
        self.change, self.number = change, 0

    def loss(self, outputs, targets):
        self.number += 1
        return super().loss(outputs, targets) * self.change(self.number)


def test_a_first_loss_of_zero_does_not_switch_the_task_off(state):
    task = Batches(lambda number: 0.0 if number == 1 else 1.0)
    summary = weightzip.compress(state, "model.wz", ratio=15, task=task, adapt="finetune", steps=300)
    assert summary["metric"]["restored"] > 80


class Spoilt(Largest):
    """The task with one example in each pass for which the loss is no number."""

    def training(self):
        for inputs, targets in super().training():
            yield inputs, torch.where((inputs[:, 0] > 3.0) & (inputs[:, 1] > 0), -100, targets)

    def loss(self, outputs, targets):
        weights = torch.where(targets < 0, math.nan, 1.0)
        return (torch.nn.functional.cross_entropy(outputs, targets.clamp(min=0), reduction="none") * weights).mean()


def test_a_batch_that_spoils_each_pass_is_passed_over(state):
    summary = weightzip.compress(state, "model.wz", ratio=12, task=Spoilt(), adapt="finetune", steps=300)
    assert summary["metric"]["restored"] > 60


class Undefined(Largest):
    """The task with a metric that is undefined for a model that is far off."""

    def evaluate(self, model):
        value = super().evaluate(model)
        return value if value > 85 else math.nan


def test_a_metric_that_is_undefined_on_the_way_is_one_that_fails(state):
    summary = weightzip.compress(state, "model.wz", max_drop=3, task=Undefined(), adapt="calibrate", steps=300)
    assert summary["metric"]["restored"] >= summary["metric"]["original"] - 3


class Loaded(Largest):
    """The task with a loader of torch's, which shuffles by torch's own randomness."""

    def training(self):
        return DataLoader(TensorDataset(*self._data(seed=2)), batch_size=50, shuffle=True)


def test_a_loader_that_shuffles_gives_the_same_bytes(state):
    for number in range(2):
        torch.manual_seed(number)
        weightzip.compress(state, f"{number}.wz", ratio=10, task=Loaded(), adapt="finetune", steps=60)
    assert Path("0.wz").read_bytes() == Path("1.wz").read_bytes()


@pytest.mark.parametrize("steps", [1, 2, 30, 49])
def test_runs_of_a_few_steps(steps, task, state):
    summary = weightzip.compress(state, "model.wz", ratio=8, task=task, adapt="calibrate", steps=steps)
    assert summary["ratio"] >= 8


def test_no_gradients_outside_do_not_matter(task, state):
    with torch.no_grad():
        weightzip.compress(state, "model.wz", ratio=8, task=task, adapt="finetune", steps=40)


def test_a_file_without_data_says_so(task, state):
    kept = weightzip.compress(state, "kept.wz", max_drop=2, task=task, adapt="calibrate", steps=300)
    assert kept["note"] == ""
    failed = weightzip.compress(state, "failed.wz", max_drop=0, task=task, adapt="calibrate", steps=20)
    assert "no model that was trained keeps the metric" in failed["note"]


def test_layer_by_layer_leaves_the_run_of_another_level(task, state):
    Path("model.wz.run").write_bytes(b"of another level")
    weightzip.compress(state, "model.wz", ratio=8, task=task, adapt="calibrate", steps=0)
    assert Path("model.wz.run").read_bytes() == b"of another level"


def test_a_task_may_say_how_far_outputs_are_apart(state):
    class Own(Largest):
        def divergence(self, outputs, originals):
            return (outputs - originals).abs().mean()

    summary = weightzip.compress(state, "model.wz", ratio=12, task=Own(), adapt="calibrate", steps=300)
    assert summary["metric"]["restored"] > 80
