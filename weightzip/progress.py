"""Progress, reported through a callback: the library computes, whoever calls decides how to show it.

Each call of the interface reports one whole: `done` of `total` never falls and ends at the total, whatever stages there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_UNITS = 1000  # of a whole
MEASURING = "measuring"  # the stage of measurements, whose jobs are its details
USUAL_EPOCHS = 100  # after which the training of a VAE has mostly stopped by itself
_TRAINING = "training the VAE"
# Share of its own steps after which a stage has usually ended. It keeps a reserve for what is not usual, or for a new start.
_USUAL = {"searching": 0.5, "calibrating": 1.0, "fine-tuning": 1.0}
_RESERVE = 0.1


@dataclass(frozen=True)
class ProgressEvent:
    """One step of long work: `done` of `total` units in `stage`, with a short human-readable `detail`.

    own: where done and total are of a whole with several stages, the stage's own. even: whether done grows evenly with time, as
    that of a `Meter` does.
    """

    stage: str
    done: int
    total: int
    detail: str = ""
    own: tuple[int, int] | None = None
    even: bool = False


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """The default callback: shows nothing."""


class Meter:
    """One progress over jobs of very different length: how much of the whole is done, in thousandths.

    seconds: roughly how long all jobs take; only the proportions matter. stage: what all events are called, the jobs being
    their details; by default each has the name of what is being done.
    """

    def __init__(self, progress: Progress, seconds: float, stage: str | None = None) -> None:
        self._progress, self._seconds, self._stage = progress, seconds, stage
        self._before, self._done, self._begun = 0.0, 0, False

    def begin(self, title: str) -> None:
        """Tell what is being done before the first job, or its first event."""
        self._report(title, None, 0.0)

    @contextlib.contextmanager
    def job(self, title: str, seconds: float) -> Iterator[Progress]:
        """A job of roughly so many seconds; its own progress goes to the callback and is folded into the whole's."""
        course = _Course()

        def inner(event: ProgressEvent) -> None:
            self._report(title, event, course.reach(event) * seconds)

        if self._begun:
            self.begin(title)
        yield inner
        self._before += seconds
        self.begin(title)

    def _report(self, title: str, event: ProgressEvent | None, beyond: float) -> None:
        reached = (self._before + beyond) / self._seconds if self._seconds > 0 else 1.0
        self._done = max(self._done, min(_UNITS, round(_UNITS * reached)))
        self._begun = True
        stage, detail = (title, "") if event is None else (event.stage, event.detail)
        if self._stage is not None:
            stage, detail = self._stage, f"{title}: {detail}" if detail else title
        own = None if event is None else _own(event)
        self._progress(ProgressEvent(stage, self._done, _UNITS, detail, own, even=True))


@dataclass
class _Course:
    """How far a job is, from 0 to 1, by its own events, which may end early, begin anew, or change their stage."""

    start: float = field(default=0.0, init=False)
    reached: float = field(default=0.0, init=False)
    last: float = field(default=0.0, init=False)

    def reach(self, event: ProgressEvent) -> float:
        """Where this event takes the job."""
        share = min(1.0, event.done / max(1, event.total))
        if share < self.last:  # what begins anew has what is left
            self.start = self.reached
        self.last = share
        usual = _usual_share(event)
        if usual is not None:
            beyond = max(0.0, share - usual) / (1 - usual) if usual < 1 else 0.0
            share = (1 - _RESERVE) * min(share / usual, 1.0) + _RESERVE * beyond
        self.reached = max(self.reached, self.start + (1 - self.start) * share)
        return self.reached


def _usual_share(event: ProgressEvent) -> float | None:
    """After which share of its own steps the event's stage has usually ended; None where that is the end."""
    if event.even:
        return None
    if event.stage == _TRAINING:
        return min(1.0, USUAL_EPOCHS / max(1, _own(event)[1]))
    return _USUAL.get(event.stage)


def _own(event: ProgressEvent) -> tuple[int, int]:
    return event.own or (event.done, event.total)
