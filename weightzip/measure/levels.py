"""The levels of knowledge as curves: weights that adapt with unlabelled inputs, or with a loss, beside trained opponents.

A codec of this module trains when it encodes. Files are asked for by size, so that no metric of the task chooses among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from weightzip.adapt import LEVELS, Run, adapted_plan, settings_for
from weightzip.adapt.lessons import lessons_of
from weightzip.adapt.network import Network
from weightzip.adapt.opponents import retrained
from weightzip.baselines import MagnitudePruning, UniformQuantisation
from weightzip.checkpoint import Checkpoint
from weightzip.codec import AutoCodec, Target
from weightzip.errors import TaskError
from weightzip.interface import Payload, TensorSpec
from weightzip.measure.jobs import Job
from weightzip.progress import Progress, silent
from weightzip.results import CALIBRATED, FINETUNED, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED
from weightzip.tasks import Task

_TIMES = {"calibrate": (1.0, 2.0, 4.0), "finetune": (1.5, 3.0, 6.0)}  # the ratio of the best file without data
_METHODS = {"calibrate": CALIBRATED, "finetune": FINETUNED}
ADAPTED = tuple(_METHODS.values())
_STEPS = 2_000  # of every training, whoever trains
_SPARSITIES = (0.9, 0.95, 0.975, 0.99)
_BITS = (4, 3, 2)
_SECONDS_PER_STEP, _EVALUATIONS_PER_STEP = 0.006, 0.04  # roughly, for the progress bar


@dataclass(frozen=True)
class Learner:
    """What a training needs besides its setting."""

    checkpoint: Checkpoint
    task: Task
    seed: int
    device: str
    steps: int = field(default_factory=lambda: _STEPS)

    def network(self) -> Network:
        """The task's module with the checkpoint's weights."""
        return Network(self.task, self.checkpoint, self.device)


@dataclass(frozen=True)
class AdaptingCodec:
    """weightzip with an adaptation, to a file of a ratio. Raises TargetError where that is out of reach."""

    learner: Learner
    level: str
    ratio: float
    name: ClassVar[str] = AutoCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Adapt the checkpoint's weights and code them."""
        learner = self.learner
        run = Run(self.level, settings_for(self.level, learner.steps), learner.seed, learner.device)
        plan = adapted_plan(learner.checkpoint, Target(ratio=self.ratio), learner.task, _unasked, run, progress)
        return plan.codec.encode(tensors, progress)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As AutoCodec's."""
        return AutoCodec.decode(payload, specs)


@dataclass(frozen=True)
class RetrainedPruning:
    """A method in the loop while weights are trained on: magnitude pruning, whose survivors are."""

    learner: Learner
    codec: MagnitudePruning | UniformQuantisation
    name: ClassVar[str] = MagnitudePruning.name

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As MagnitudePruning's."""
        return MagnitudePruning.decode(payload, specs)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Train, and code what was learned."""
        return self.codec.encode(_retrained(self.learner, self.codec, tensors, progress))


@dataclass(frozen=True)
class TrainedQuantisation(RetrainedPruning):
    """Quantisation-aware training: the same, with another method in the loop."""

    name: ClassVar[str] = UniformQuantisation.name

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As UniformQuantisation's."""
        return UniformQuantisation.decode(payload, specs)


def usable_levels(task: Task, up_to: str) -> tuple[str, ...]:
    """The levels up to this one for which a task has the data; none for "none"."""
    has = {"calibrate": callable(getattr(task, "calibration", None)), "finetune": callable(getattr(task, "training", None))}
    asked = LEVELS[: LEVELS.index(up_to) + 1] if up_to in LEVELS else ()
    return tuple(level for level in asked if has[level])


def level_jobs(learner: Learner, levels: Sequence[str], best_ratio: float, evaluation_seconds: float) -> list[Job]:
    """The levels at some ratios, and with fine-tuning its opponents. best_ratio: of the best file without data."""
    seconds = _seconds(learner, evaluation_seconds)
    jobs = [adapting_job(learner, level, times * best_ratio, seconds) for level in levels for times in _TIMES[level]]
    if "finetune" not in levels:
        return jobs
    pruned = [Job(PRUNED_AND_TRAINED, f"sparsity {share:g}", _pruning(learner, share), seconds) for share in _SPARSITIES]
    quantised = [Job(QUANTISED_AND_TRAINED, f"{bits} bit", _quantisation(learner, bits), seconds) for bits in _BITS]
    return [*jobs, *pruned, *quantised]


def named_jobs(learner: Learner, levels: Sequence[str], names: Sequence[str], evaluation_seconds: float) -> list[Job]:
    """The jobs of these levels whose titles, and so whose ratios, are among the names."""
    seconds = _seconds(learner, evaluation_seconds)
    found = [(level, _ratio_in(name, _METHODS[level])) for name in names for level in levels]
    return [adapting_job(learner, level, ratio, seconds) for level, ratio in found if ratio is not None]


def adapting_job(learner: Learner, level: str, ratio: float, seconds: float) -> Job:
    """weightzip with a level of adaptation, at a ratio of three digits, so that the setting tells all of it."""
    setting = f"{ratio:.3g}"
    return Job(_METHODS[level], f"{setting}x", AdaptingCodec(learner, level, float(setting)), seconds)


def _ratio_in(title: str, method: str) -> float | None:
    """The ratio in the title of a job of this method; None where it is another's title."""
    match = re.fullmatch(rf"{re.escape(method)}, (\d+(?:\.\d+)?(?:e\+\d+)?)x", title, re.ASCII)
    return float(match[1]) if match else None


def _seconds(learner: Learner, evaluation_seconds: float) -> float:
    return learner.steps * (_SECONDS_PER_STEP + _EVALUATIONS_PER_STEP * evaluation_seconds)


def _pruning(learner: Learner, sparsity: float) -> RetrainedPruning:
    return RetrainedPruning(learner, MagnitudePruning(sparsity))


def _quantisation(learner: Learner, bits: int) -> TrainedQuantisation:
    return TrainedQuantisation(learner, UniformQuantisation(bits))


def _retrained(
    learner: Learner, codec: MagnitudePruning | UniformQuantisation, tensors: Mapping[str, Tensor], progress: Progress
) -> dict[str, Tensor]:
    network = learner.network()
    lessons = lessons_of(network, "finetune", learner.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(learner.seed)
        return retrained(network, tensors, codec, lessons.objective, lessons.batches(0), learner.steps, progress)


def _unasked(_: dict[str, Tensor]) -> float:
    raise TaskError("a file is asked for by its size, so nothing is evaluated on the way")
