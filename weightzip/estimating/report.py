"""An outlook as a summary, with what this machine takes."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TypedDict

import torch

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, encode
from weightzip.estimating.planned import Outlook, outlook
from weightzip.planning import Inputs
from weightzip.progress import Meter, Progress
from weightzip.summary import Summary, summarise

_USUAL_MEMORY = 680 << 20  # bytes that the program takes where the system does not say
_FIRST = 0.5  # seconds at most that the first code takes to load; to compile it is needed but once


class Expected(TypedDict):
    """What the real run is expected to come to: bytes of the file, seconds, bytes of memory at the peak.

    exact: whether the size and the errors are those of the real run; otherwise all are estimates. at_most: whether the size is
    only what it usually is at most, as nobody can tell before.
    """

    file_bytes: int
    seconds: float
    memory_bytes: int
    exact: bool
    at_most: bool


class Estimate(Summary):
    """The summary of a file that has not been written; `seconds` is what telling took."""

    dry_run: bool
    expected: Expected


def estimate(inputs: Inputs, start: float, *, source: str, output: str, progress: Progress) -> Estimate:
    """What compressing would come to. start: when the work began, with the source still to be read."""
    before = time.monotonic() - start
    begun = time.monotonic()
    encode(from_object({"weight": torch.linspace(-1, 1, 4096).reshape(64, 64)}), AutoCodec())  # what is slow the first time
    before += min(time.monotonic() - begun, _FIRST)
    used = _used_memory()
    with Meter(progress, 1.0).job("estimating", 1.0) as inner:
        found = outlook(inputs, inner)
    summary = _summary(found, source=source, output=output, seconds=time.monotonic() - start)
    expected = Expected(
        file_bytes=summary["file_bytes"],
        seconds=round(before + found.seconds, 3),
        memory_bytes=max(used + found.memory_bytes, _used_memory()),  # which knows what evaluating a task takes
        exact=found.exact,
        at_most=found.at_most,
    )
    return Estimate(**summary, dry_run=True, expected=expected)


def _summary(found: Outlook, *, source: str, output: str, seconds: float) -> Summary:
    summary = summarise(found.header, found.sections, source=source, output=output, seconds=seconds, stored=found.stored)
    summary["metric"] = found.metric
    summary["note"] = found.note
    return summary


def _used_memory() -> int:
    """Bytes that this process has taken at most so far."""
    if sys.platform == "win32":
        return _USUAL_MEMORY
    resource = importlib.import_module("resource")  # which Windows does not have
    usage: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
