"""The Task protocol: what a user's task has to offer, and what it may offer besides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = Any  # what the task's module takes, returns or is compared with, for several examples at once


class Task(Protocol):
    """What every task has: enough to measure a checkpoint."""

    @property
    def name(self) -> str:
        """A short name for tables."""

    @property
    def metric(self) -> str:
        """What `evaluate` returns, with its unit; higher is better. E.g. "top-1 accuracy, %"."""

    def model(self) -> nn.Module:
        """A new module; its state dict has the checkpoint's keys."""

    def evaluate(self, model: nn.Module) -> float:
        """The metric of `model`, a finite number; the same each time for the same weights."""


class CalibrationTask(Task, Protocol):
    """A task with unlabelled inputs; needed by `--adapt calibrate`.

    Inputs are one tensor, the module's one argument; a tuple or list, its arguments; or a dict, its keyword arguments.
    """

    def calibration(self) -> Iterable[Batch]:
        """Unlabelled batches of inputs."""


class TrainingTask(Task, Protocol):
    """A task to train on; needed by `--adapt finetune`, which does without `loss` by matching the original's outputs."""

    def training(self) -> Iterable[tuple[Batch, Batch]]:
        """One pass over batches of (inputs, targets)."""

    def loss(self, outputs: Batch, targets: Batch) -> Tensor:
        """A scalar to be minimised, given the module's outputs for a batch and the batch's targets."""
