"""From a checkpoint, a task and a target to the codec of the file: which data a level uses, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from weightzip.adapt.goal import Candidate, Goal, KeepMetric, KeepSize
from weightzip.adapt.lessons import MEASURED, Lessons, lessons_of, own_randomness
from weightzip.adapt.network import Network
from weightzip.adapt.saved import SavedRun, identity_of
from weightzip.adapt.settings import AdaptSettings, careful
from weightzip.adapt.start import REFERENCE, Beginning
from weightzip.adapt.training import State, Training
from weightzip.checkpoint import Checkpoint
from weightzip.codec import AutoCodec, Plan, Target, encode, meet_drop
from weightzip.codec.encoding import file_size, lossy_magnitudes
from weightzip.codec.trained import TrainedCodec
from weightzip.errors import TargetError, UsageError
from weightzip.progress import Progress, ProgressEvent
from weightzip.search import bisect_log
from weightzip.tasks import Task

LAYERWISE_PROBES = 10  # of a search without training
_FINEST, _COARSEST = 2.0**-6, 2.0  # its steps, in deviations of the weights
Evaluate = Callable[[dict[str, Tensor]], float]


@dataclass(frozen=True)
class Run:
    """What an adaptation is asked for besides checkpoint, task and target.

    level: calibrate or finetune. saved: where the run is kept so that it can go on after an interrupt; None keeps nothing.
    replace: whether another run that is kept there may be overwritten.
    """

    level: str
    settings: AdaptSettings
    seed: int
    device: str
    saved: Path | None = None
    replace: bool = False


def adapted_plan(checkpoint: Checkpoint, target: Target, task: Task, evaluate: Evaluate, run: Run, progress: Progress) -> Plan:
    """How to encode a checkpoint with weights that were adapted to the file.

    evaluate: the metric of all tensors of the checkpoint. Raises CheckpointError where it does not fit the task's module,
    TaskError and UsageError where the task fails or lacks something, TargetError where a size cannot be met.
    """
    network = Network(task, checkpoint, run.device)
    names = list(lossy_magnitudes(checkpoint))
    if not network.trained.intersection(names):
        raise UsageError(f"task {task.name}: the model has no weights of the checkpoint to train; use --adapt none")
    goal = _goal(checkpoint, target, evaluate, run.settings.excess)
    with own_randomness(run.seed, run.device):
        lessons = lessons_of(network, run.level, run.seed)
        tensors = {name: checkpoint.dense(name).float() for name in names}
        beginning = Beginning.of(network, tensors, lessons.inputs[:MEASURED], lessons.source)
        if run.settings.steps:
            found, closest = _train(checkpoint, beginning, lessons, goal, target, run, progress)
        else:
            found, closest = _layer_by_layer(checkpoint, beginning, goal, progress)
    if found is not None:
        return Plan(found)
    if isinstance(goal, KeepSize):
        raise TargetError(
            f"{goal.limit:,.0f} bytes are out of reach: the smallest file took {closest:,.0f}; ask for less or for more --steps"
        )
    note = "no model that was trained keeps the metric: the file is one without data; more --steps may help"
    return Plan(meet_drop(checkpoint, goal.max_drop, evaluate, progress), note=note)


def _goal(checkpoint: Checkpoint, target: Target, evaluate: Evaluate, excess: float) -> KeepMetric | KeepSize:
    """What the run is to reach; without a target, the metric that the default quality without data keeps."""
    limit = target.limit(checkpoint)
    if limit is not None:
        return KeepSize(limit)
    original = evaluate(dict(checkpoint.tensors))
    max_drop = target.max_drop
    if max_drop is None:
        max_drop = max(0.0, original - evaluate(encode(checkpoint, AutoCodec()).restored))

    def measure(tensors: Mapping[str, Tensor]) -> float:
        typed = {name: tensor.to(checkpoint.tensors[name].dtype) for name, tensor in tensors.items()}
        with torch.random.fork_rng(devices=[]):  # so that what the task draws does not depend on how often it is asked
            return evaluate({**checkpoint.tensors, **typed})

    return KeepMetric(measure, original, max_drop, excess)


def _train(
    checkpoint: Checkpoint,
    beginning: Beginning,
    lessons: Lessons,
    goal: KeepMetric | KeepSize,
    target: Target,
    run: Run,
    progress: Progress,
) -> tuple[TrainedCodec | None, float]:
    """The codec of the best model found, if any meets the goal; and the bytes of the smallest file seen."""
    latents, values, steps = beginning.at(REFERENCE)
    trained = torch.tensor([float(name in beginning.network.trained) for name in latents.names])
    saved = _saved_run(checkpoint, beginning.network.task.name, target, run)

    def keep(state: State) -> None:
        if saved is not None:
            saved.save(state)

    def training(settings: AdaptSettings, goal: Goal) -> Training:
        return Training(
            latents=latents,
            trained=trained,
            objective=lessons.objective,
            batches=lessons.batches,
            goal=goal,
            file_bytes=lambda codec: file_size(checkpoint, codec),
            settings=settings,
            keep=keep,
            progress=progress,
            stage="calibrating" if run.level == "calibrate" else "fine-tuning",
            task_name=beginning.network.task.name,
        )

    first = training(run.settings, goal)
    state = first.begin(values, steps)
    if saved is not None:
        saved.load(state, others=run.replace)
    found = first.run(state) if state.attempt == 1 else None
    if found is not None or isinstance(goal, KeepSize):
        return found, state.closest
    settings = careful(run.settings)
    second = training(settings, replace(goal, excess=settings.excess))
    if state.attempt == 1:
        state = replace(second.begin(values, steps), attempt=2)
    return second.run(state), state.closest


def _layer_by_layer(
    checkpoint: Checkpoint, beginning: Beginning, goal: KeepMetric | KeepSize, progress: Progress
) -> tuple[TrainedCodec | None, float]:
    """As `_train`, without any training: the coarsest common step that meets the goal, or the finest for one of size."""
    best: tuple[float, TrainedCodec] | None = None
    closest = math.inf
    done = 0

    def passes(step: float) -> bool:
        nonlocal best, closest, done
        latents, values, steps = beginning.at(step)
        codec = latents.codec((values / latents.symbol_steps(steps)[latents.index]).round(), steps)
        size = file_size(checkpoint, codec)
        verdict = goal.judge(Candidate(codec.restored(), size, 1.0))
        closest, done = min(closest, size), done + 1
        progress(ProgressEvent("calibrating", done, LAYERWISE_PROBES, f"{size:,} bytes"))
        if verdict.passes and (best is None or goal.better((size, 1.0), (best[0], 1.0))):
            best = size, codec
        return verdict.passes

    ends = (_FINEST, _COARSEST) if isinstance(goal, KeepMetric) else (_COARSEST, _FINEST)
    bisect_log(passes, safe=ends[0], bold=ends[1], probes=LAYERWISE_PROBES)
    return best[1] if best else None, closest


def _saved_run(checkpoint: Checkpoint, task_name: str, target: Target, run: Run) -> SavedRun | None:
    if run.saved is None:
        return None
    settings: dict[str, object] = {"level": run.level, "seed": run.seed, "task": task_name, "target": vars(target)}
    settings |= {"device": run.device, "weights": sorted(checkpoint.weights), **run.settings.to_json()}
    return SavedRun(run.saved, identity_of({name: checkpoint.dense(name) for name in checkpoint.tensors}, settings))
