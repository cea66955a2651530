"""An adaptation that is interrupted goes on from where it was, to the same file."""

from pathlib import Path

import pytest
import torch

import weightzip
from weightzip.errors import OutputError

OPTIONS = {"ratio": 10, "steps": 100}


class Interrupt:
    """A progress callback that interrupts at a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self, event):
        if event.stage in ("calibrating", "fine-tuning") and event.own and event.own[0] == self.step:
            raise KeyboardInterrupt


def interrupted(state, task, level, step=70, **options):
    with pytest.raises(KeyboardInterrupt):
        weightzip.compress(state, "model.wz", task=task, adapt=level, progress=Interrupt(step), **OPTIONS, **options)


@pytest.mark.parametrize("level", ["calibrate", "finetune"])
def test_a_run_goes_on_to_the_same_bytes(level, task, state):
    weightzip.compress(state, "whole.wz", task=task, adapt=level, **OPTIONS)
    interrupted(state, task, level)
    assert sorted(path.name for path in Path().iterdir()) == ["model.wz.run", "whole.wz"]
    seen = []
    weightzip.compress(state, "model.wz", task=task, adapt=level, progress=seen.append, **OPTIONS)
    steps = [event.own[0] for event in seen if event.stage in ("calibrating", "fine-tuning") and event.own]
    assert steps[0] == 61  # after the last look
    assert Path("model.wz").read_bytes() == Path("whole.wz").read_bytes()
    assert not Path("model.wz.run").exists()


def test_the_run_of_other_settings_is_refused_and_replaced_by_force(task, state):
    interrupted(state, task, "calibrate")
    before = Path("model.wz.run").read_bytes()
    with pytest.raises(OutputError, match=r"model.wz.run: is not a run of this checkpoint with these settings; delete it"):
        weightzip.compress(state, "model.wz", task=task, adapt="calibrate", seed=1, **OPTIONS)
    assert Path("model.wz.run").read_bytes() == before
    weightzip.compress(state, "model.wz", task=task, adapt="calibrate", seed=1, force=True, **OPTIONS)
    assert not Path("model.wz.run").exists()


def test_force_goes_on_with_the_same_run(task, state):
    interrupted(state, task, "calibrate")
    seen = []
    weightzip.compress(state, "model.wz", task=task, adapt="calibrate", force=True, progress=seen.append, **OPTIONS)
    assert next(event.own[0] for event in seen if event.stage == "calibrating" and event.own) == 61


def test_the_run_with_other_weights_kept_exactly_is_refused(task, state):
    interrupted(state, task, "calibrate", exclude="0.bias")
    with pytest.raises(OutputError, match="is not a run of this checkpoint"):
        weightzip.compress(state, "model.wz", task=task, adapt="calibrate", exclude="2.bias", **OPTIONS)


def test_the_run_of_other_weights_is_refused(task, state):
    interrupted(state, task, "calibrate")
    moved = {key: value + 0.01 for key, value in state.items()}
    with pytest.raises(OutputError, match="is not a run of this checkpoint"):
        weightzip.compress(moved, "model.wz", task=task, adapt="calibrate", **OPTIONS)


@pytest.mark.parametrize("content", [b"", b"no run", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_run_is_refused(content, task, state):
    Path("model.wz.run").write_bytes(content)
    with pytest.raises(OutputError, match="is not a run of this checkpoint"):
        weightzip.compress(state, "model.wz", task=task, adapt="calibrate", **OPTIONS)
    assert Path("model.wz.run").read_bytes() == content


def test_a_run_with_tensors_of_another_shape_is_refused(task, state):
    interrupted(state, task, "calibrate")
    content = torch.load("model.wz.run", weights_only=True)
    content["tensors"]["latents"] = content["tensors"]["latents"][:-1]
    torch.save(content, "model.wz.run")
    with pytest.raises(OutputError, match="is not a run of this checkpoint"):
        weightzip.compress(state, "model.wz", task=task, adapt="calibrate", **OPTIONS)


def test_a_dry_run_keeps_nothing(task, state):
    weightzip.compress(state, "model.wz", task=task, adapt="calibrate", dry_run=True, **OPTIONS)
    assert not list(Path().iterdir())
