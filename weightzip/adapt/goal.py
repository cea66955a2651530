"""What a run is to reach, and how far it is from it: this steers the price of a bit, so that one run finds it by itself.

A model that has just lost weights recovers while it goes on training, and the more so as the learning rate falls. So a drop of
the metric may be several times the target at the beginning, and what is allowed falls to the target towards the end of the
run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from weightzip.errors import TaskError

_SETTLED = 0.9  # of the run, from which the target itself counts
_CLOSE = 0.995  # of a size limit: what is aimed at
_OCTAVES = 0.25  # by which a size may miss its limit until the price moves at full speed
_SMALLEST, _TRY = 1e-9, 0.5
_SMALL_SHARE = 0.002  # of the metric, that may be lost early on even where nothing may in the end
_EAGER = 2.0  # the price moves at full speed where half of what is allowed is left


@dataclass(frozen=True)
class Verdict:
    """passes: whether the target is met. room: from -1 (the price must fall) to 1 (it may rise). value: the metric."""

    passes: bool
    room: float
    value: float | None


@dataclass(frozen=True)
class Candidate:
    """What is judged: tensors as the file restores them, bytes of the file, and how much of the run is done, 0 to 1."""

    tensors: Mapping[str, Tensor]
    file_bytes: float
    done: float


class Goal(Protocol):
    """A target; `judge` costs an evaluation of the task where the target is one of its metric."""

    def judge(self, candidate: Candidate) -> Verdict:
        """How a candidate stands."""

    def better(self, candidate: tuple[float, float], best: tuple[float, float]) -> bool:
        """Whether one that passes is better than another one that does: (file bytes, share of the run) of each."""


@dataclass(frozen=True)
class KeepMetric:
    """The smallest file whose metric is at most `max_drop` below the original's.

    excess: how many times the target a drop may be over it at first.
    """

    evaluate: Callable[[Mapping[str, Tensor]], float]
    original: float
    max_drop: float
    excess: float

    def judge(self, candidate: Candidate) -> Verdict:
        """By evaluating the task."""
        try:
            value = self.evaluate(candidate.tensors)
        except TaskError:  # some metrics are undefined for a model that is far off
            return Verdict(False, -1.0, None)
        drop = self.original - value
        early = (self.max_drop or _SMALL_SHARE * abs(self.original)) * max(0.0, 1 - candidate.done / _SETTLED) ** 2
        allowed = self.max_drop + self.excess * early
        room = _EAGER * (allowed - drop) / max(allowed, _SMALLEST) if allowed or drop else _TRY
        return Verdict(drop <= self.max_drop, max(-1.0, min(1.0, room)), value)

    def better(self, candidate: tuple[float, float], best: tuple[float, float]) -> bool:
        """The smaller one."""
        return candidate[0] < best[0]


@dataclass(frozen=True)
class KeepSize:
    """The best model in a file of at most `limit` bytes; the task is not evaluated."""

    limit: float

    def judge(self, candidate: Candidate) -> Verdict:
        """By its size alone."""
        octaves = math.log2(_CLOSE * self.limit / max(candidate.file_bytes, 1.0))
        return Verdict(candidate.file_bytes <= self.limit, max(-1.0, min(1.0, -octaves / _OCTAVES)), None)

    def better(self, candidate: tuple[float, float], best: tuple[float, float]) -> bool:
        """The one that was trained longer; where that is the same, the larger one."""
        return (candidate[1], candidate[0]) >= (best[1], best[0])
