"""Progress, reported through a callback: the library computes, whoever calls decides how to show it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """One step of long work: `done` of `total` units in `stage`, with a short human-readable `detail`."""

    stage: str
    done: int
    total: int
    detail: str = ""


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """The default callback: shows nothing."""
