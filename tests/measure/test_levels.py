"""The levels of knowledge in a report: adapted files, and opponents that were trained as well."""

import pytest
import torch
from lines_task import VAE, write_checkpoint, write_task

from weightzip import checkpoint as checkpoints
from weightzip.codec import decode, encode
from weightzip.measure import compare, levels
from weightzip.measure.levels import Learner, level_jobs, named_jobs, usable_levels
from weightzip.progress import silent
from weightzip.results import AUTO, CALIBRATED, FINETUNED, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED, slug
from weightzip.tasks import load_task


class Taught:
    """The lines task with data to learn from."""

    def __init__(self, task):
        self._task, self.name, self.metric = task, task.name, task.metric
        self.model, self.evaluate = task.model, task.evaluate

    def calibration(self):
        return [inputs for inputs, _ in self.training()]

    def training(self):
        numbers = [torch.randn(50, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(2, 10)]
        return [(inputs, inputs[:, :4].argmax(1)) for inputs in numbers]

    def loss(self, outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets)


@pytest.fixture
def untaught(tmp_path):
    return load_task(write_task(tmp_path))


@pytest.fixture
def learner(untaught, tmp_path):
    return Learner(checkpoints.read(write_checkpoint(tmp_path)), Taught(untaught), 0, "cpu", steps=40)


def test_levels_are_those_that_the_task_has_data_for(untaught, learner):
    assert usable_levels(untaught, "finetune") == ()
    assert usable_levels(learner.task, "none") == ()
    assert usable_levels(learner.task, "calibrate") == ("calibrate",)
    assert usable_levels(learner.task, "finetune") == ("calibrate", "finetune")


def test_a_level_is_measured_at_multiples_of_the_best_ratio_without_data(learner):
    jobs = level_jobs(learner, ("calibrate", "finetune"), 10.0, 0.1)
    assert [job.setting for job in jobs if job.method == CALIBRATED] == ["10x", "20x", "40x"]
    assert [job.setting for job in jobs if job.method == FINETUNED] == ["15x", "30x", "60x"]
    assert {job.method for job in jobs} == {CALIBRATED, FINETUNED, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED}


def test_a_setting_tells_all_of_a_ratio(learner):
    (job,) = [job for job in level_jobs(learner, ("calibrate",), 12.3456, 0.1) if job.setting == "24.7x"]
    (named,) = named_jobs(
        learner, ("calibrate", "finetune"), ["weightzip calibrate, 24.7x", "zstd", "weightzip calibrate"], 0.1
    )
    assert (named, named.codec.ratio) == (job, 24.7)


def test_a_level_without_a_ratio_is_guided_by_files_that_are_not_shown(learner, monkeypatch, tmp_path):
    monkeypatch.setattr(levels, "_STEPS", 20)
    monkeypatch.setattr(levels, "_TIMES", {"calibrate": (0.2,), "finetune": (1.0,)})
    kept = tmp_path / "kept"
    kept.mkdir()
    found = compare(learner.checkpoint, learner.task, VAE, "cpu", silent, adapt="finetune", only=[CALIBRATED], keep=kept)
    (point,) = [stored.point for stored in found.files]
    assert [path.name for path in kept.iterdir()] == [f"{slug(point.title)}.wz"]
    assert point.method == CALIBRATED
    assert point.ratio > 1.5  # a fifth of the best


@pytest.mark.parametrize("method", [PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED])
def test_opponents_restore_what_was_trained(method, learner):
    job = [job for job in level_jobs(learner, ("finetune",), 1.0, 0.1) if job.method == method][-1]
    coded = encode(learner.checkpoint, job.codec)
    restored = decode(coded.pack()).tensors
    untrained = encode(learner.checkpoint, job.codec.codec)
    state = {name: tensor.clone() for name, tensor in restored.items()}
    module = learner.task.model().requires_grad_(False)

    def loss(tensors):
        module.load_state_dict(tensors)
        return sum(float(learner.task.loss(module(inputs), targets)) for inputs, targets in learner.task.training())

    assert loss(state) < loss(untrained.restored)
    assert coded.header.codec == untrained.header.codec


def test_pruned_weights_stay_zero_through_training(learner):
    job = next(job for job in level_jobs(learner, ("finetune",), 1.0, 0.1) if job.method == PRUNED_AND_TRAINED)
    restored = encode(learner.checkpoint, job.codec).restored
    assert float((restored["0.weight"] == 0).float().mean()) == pytest.approx(0.9, abs=0.01)
    assert not bool((restored["2.weight"] == 0).any())  # too small to be pruned


def test_the_levels_are_measured_beside_all_others(learner, monkeypatch):
    monkeypatch.setattr(levels, "_STEPS", 20)
    monkeypatch.setattr(levels, "_TIMES", {"calibrate": (0.2,), "finetune": (0.2, 1e6)})
    results = compare(learner.checkpoint, learner.task, VAE, "cpu", silent, adapt="finetune", tolerance=lambda original: 1.0)
    methods = [stored.point.method for stored in results.files]
    assert methods.count(CALIBRATED) == methods.count(FINETUNED) == 1
    assert {AUTO, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED} < set(methods)
    first = next(stored.point for stored in results.files if stored.point.method == CALIBRATED)
    alone = compare(learner.checkpoint, learner.task, VAE, "cpu", silent, adapt="calibrate", only=[first.title])
    assert [(p.title, p.file_bytes, p.value) for p in (stored.point for stored in alone.files)] == [
        (first.title, first.file_bytes, first.value)
    ]
    assert any("out of reach" in reason for reason in results.left_out)  # a million times smaller than the best
