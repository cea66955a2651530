"""What is asked of a compression, whether that makes sense, and which codec at which setting does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from weightzip.adapt import LAYERWISE_PROBES, LEVELS, Run, adapted_plan, settings_for
from weightzip.checkpoint import Checkpoint
from weightzip.codec import FamilyCodec, LosslessCodec, PaperCodec, Plan, Target, plan_for
from weightzip.costs import USUAL_SIZE_PROBES, CallCosts, call_costs, metric_probes
from weightzip.errors import UsageError
from weightzip.progress import Progress
from weightzip.tasks import Task
from weightzip.vae import VAESettings

PRESETS = ("auto", "paper")
ADAPTATIONS = ("none", *LEVELS)
Measure = Callable[[dict[str, Tensor]], float]


@dataclass(frozen=True)
class Request:
    """The options of `weightzip.compress` that decide about the codec.

    vae: settings of the paper preset. steps: of an adaptation, None for as many as usual. has_task, selects: whether there is
    a task, and whether some weights are to be coded exactly.
    """

    preset: str
    target: Target
    lossless: bool
    adapt: str
    steps: int | None
    vae: VAESettings | None
    has_task: bool
    selects: bool

    def __post_init__(self) -> None:
        """Raise UsageError for what does not go together."""
        for what, value, choices in (("preset", self.preset, PRESETS), ("adaptation", self.adapt, ADAPTATIONS)):
            if value not in choices:
                raise UsageError(f"unknown {what} {value!r}; use one of {', '.join(choices)}")
        if self.vae is not None and self.preset != "paper":
            raise UsageError("VAE settings are for the paper preset; add --preset paper")
        has_target = self.target != Target()
        if self.lossless and (has_target or self.preset != "auto" or self.selects or self.adapt != "none"):
            raise UsageError(
                "--lossless stands alone: leave out the preset, the other targets, --adapt, --include and --exclude"
            )
        if self.preset == "paper" and has_target:
            raise UsageError("--preset paper has no target: its size follows from chunk and latent; use --preset auto")
        if self.target.max_drop is not None and not self.has_task:
            raise UsageError("--max-drop needs a task to evaluate; name one with --task")
        self._check_adaptation()

    @property
    def stage(self) -> str:
        """What finding the setting is called while it goes on."""
        if self.adapt != "none":
            return "calibrating" if self.adapt == "calibrate" else "fine-tuning"
        searches = self.target.max_error is None and self.target != Target()
        return "searching" if searches else "coding"

    def _check_adaptation(self) -> None:
        if self.adapt == "none":
            if self.steps is not None:
                raise UsageError("--steps is for adaptations; add --adapt calibrate or --adapt finetune")
            return
        if self.preset != "auto":
            raise UsageError(f"--adapt {self.adapt} is for the auto preset; leave out --preset {self.preset}")
        if self.target.max_error is not None:
            raise UsageError(
                f"--adapt {self.adapt} moves the weights, so --max-error makes no sense; use --max-drop or --ratio"
            )
        if not self.has_task:
            raise UsageError(f"--adapt {self.adapt} needs a task to learn from; name one with --task")


@dataclass(frozen=True)
class Inputs:
    """What is to be compressed, and how. measure: the metric of all tensors, where there is a task. device: for training."""

    request: Request
    model: Checkpoint
    job: Task | None
    measure: Measure | None
    seed: int
    device: str


def costs_of(inputs: Inputs, *, verify: bool) -> CallCosts:
    """Roughly how long each step of the compression takes, relative to the others."""
    request = inputs.request
    if request.adapt == "none":
        steps, probes = 0, USUAL_SIZE_PROBES if request.target.limit(inputs.model) is not None else 0
    else:
        steps = settings_for(request.adapt, request.steps).steps
        probes = 0 if steps else LAYERWISE_PROBES
    searches = request.adapt == "none" and request.target.max_drop is not None
    return call_costs(
        [tensor.numel() for tensor in inputs.model.tensors.values()],
        vae=(request.vae or VAESettings()) if request.preset == "paper" else None,
        probes=probes,
        evaluations=metric_probes(inputs.model.tensors) if searches else 0,
        steps=steps,
        verify=verify,
        evaluate=inputs.job is not None,
    )


def plan(inputs: Inputs, *, saved: Path | None, force: bool, progress: Progress) -> Plan:
    """How to encode a model.

    saved: where an adaptation is kept on the way; force: whether another run that is kept there may be overwritten.
    """
    request, model, measure = inputs.request, inputs.model, inputs.measure
    if request.lossless:
        return Plan(LosslessCodec())
    if request.preset == "paper":
        settings = request.vae or VAESettings(seed=inputs.seed)
        published = settings.family == PaperCodec.family
        return Plan((PaperCodec if published else FamilyCodec)(settings, device=inputs.device))
    if request.adapt != "none" and inputs.job is not None and measure is not None:
        settings_of_run = settings_for(request.adapt, request.steps)
        run = Run(request.adapt, settings_of_run, inputs.seed, inputs.device, saved, force)
        return adapted_plan(model, request.target, inputs.job, measure, run, progress)
    return plan_for(model, request.target, evaluate=measure, progress=progress)
