"""Training with early stopping, of one network or of several by turns, with the processor time that each takes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from weightzip.errors import MeasurementError
from weightzip.measure.faithful.settings import Schedule
from weightzip.progress import Progress, ProgressEvent


class Trainer:
    """A network in training. steps, seconds: so far, of training alone."""

    def __init__(
        self,
        network: nn.Module,
        rate: torch.optim.lr_scheduler.LRScheduler,
        loss: Callable[[], Tensor],
        validate: Callable[[], float],
    ) -> None:
        """rate: of learning, with its optimiser. loss: of a batch that it draws. validate: the smaller the better."""
        self.network = network
        self.steps, self.seconds = 0, 0.0
        self._rate, self._loss, self._validate = rate, loss, validate
        self._best, self._best_state, self._idle = math.inf, copy.deepcopy(network.state_dict()), 0

    def step(self) -> None:
        """One step of the optimiser."""
        start = time.process_time()
        self.network.train()
        self._rate.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._loss())
        self._rate.optimizer.step()
        self._rate.step()
        self.seconds += time.process_time() - start
        self.steps += 1

    @torch.no_grad()
    def check(self) -> None:
        """Validate, and keep the network if it is the best so far."""
        self.network.eval()
        found = self._validate()
        self._idle += 1
        if found < self._best:
            self._best, self._best_state, self._idle = found, copy.deepcopy(self.network.state_dict()), 0

    def is_done(self, schedule: Schedule) -> bool:
        """Whether it has had all its steps, or has made no progress for too long."""
        return self.steps >= schedule.steps or self._idle >= schedule.patience

    def finish(self) -> None:
        """Go back to the best state. Raises MeasurementError where no look at it gave a number."""
        if not math.isfinite(self._best):
            raise MeasurementError("training diverged: the validation loss is not a number; lower the learning rate")
        self.network.load_state_dict(self._best_state)
        self.network.eval().requires_grad_(False)


def fit(trainers: Sequence[Trainer], schedule: Schedule, stage: str, progress: Progress) -> None:
    """Train all by turns, a step each, so that what else the machine does slows all alike; each ends with its best state."""
    running = list(trainers)
    for step in range(1, schedule.steps + 1):
        for trainer in running:
            trainer.step()
        if step % schedule.check_every == 0 or step == schedule.steps:
            for trainer in running:
                trainer.check()
            running = [trainer for trainer in running if not trainer.is_done(schedule)]
        progress(ProgressEvent(stage, step, schedule.steps))
        if not running:
            break
    for trainer in trainers:
        trainer.finish()
