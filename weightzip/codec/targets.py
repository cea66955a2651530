"""Choosing the codec and its setting that meet a target of size or quality."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec.auto import AutoCodec, BoundedCodec
from weightzip.codec.encoding import file_size, lossy_magnitudes
from weightzip.codec.quality import meet_drop
from weightzip.codec.steps import DEFAULT_STEP
from weightzip.errors import TargetError, UsageError
from weightzip.interface import Codec
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.search import approach_limit

FINEST_STEP, COARSEST_STEP = 2.0**-13, 2.0**3  # relative to the weights' deviation
SIZE_PROBES = 12
_DEFAULT_BITS, _COARSE_BITS = 2.25, 0.5  # what a weight takes at the default quality; and at what a task often tolerates


@dataclass(frozen=True)
class Target:
    """What the file must meet, at most one of these; none asks for the default quality.

    ratio: input bytes per file byte, at least. bpw: bits per weight of the whole file, at most. max_error: largest error of
    any weight. max_drop: loss of the task's metric, in the metric's units.
    """

    ratio: float | None = None
    bpw: float | None = None
    max_error: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            flags = " and ".join("--" + name.replace("_", "-") for name in given)
            raise UsageError(f"{flags} exclude each other; give one target")
        for name, value in given.items():
            if not math.isfinite(value) or value < 0 or (value == 0 and name != "max_drop"):
                raise UsageError(f"--{name.replace('_', '-')} must be a positive number, not {value:g}")

    def limit(self, checkpoint: Checkpoint) -> float | None:
        """Bytes that the whole file may take; None where the target is not one of size."""
        if self.ratio is not None:
            return _input_bytes(checkpoint) / self.ratio
        return None if self.bpw is None else self.bpw * _num_weights(checkpoint) / 8

    def exact_bits(self, checkpoint: Checkpoint) -> float:
        """Bits per weight below which exact storage is no dearer than what a lossy code takes at about this target."""
        if self.bpw is not None:
            return self.bpw
        if self.ratio is not None:
            return 8 * _input_bytes(checkpoint) / max(_num_weights(checkpoint), 1) / self.ratio
        return _DEFAULT_BITS if self.max_drop is None else _COARSE_BITS


@dataclass(frozen=True)
class Plan:
    """How to encode a checkpoint: the arguments of `weightzip.codec.encoding.Encoding`; note: what to tell of it."""

    codec: Codec
    max_error: float = math.inf
    note: str = ""


def plan_for(
    checkpoint: Checkpoint,
    target: Target,
    *,
    evaluate: Callable[[dict[str, Tensor]], float] | None = None,
    progress: Progress = silent,
) -> Plan:
    """How the default codec makes the smallest file that meets the target.

    evaluate: metric of a set of restored tensors; needed by max_drop. Raises TargetError, saying how close it came.
    """
    if target.max_error is not None:
        return _meet_error(checkpoint, target.max_error)
    if target.max_drop is not None:
        if evaluate is None:
            raise UsageError("--max-drop needs a task to evaluate; name one with --task")
        return Plan(meet_drop(checkpoint, target.max_drop, evaluate, progress))
    limit = target.limit(checkpoint)
    return Plan(AutoCodec() if limit is None else _meet_size(checkpoint, limit, progress))


def _meet_size(checkpoint: Checkpoint, limit: float, progress: Progress) -> Codec:
    input_bytes, weights = _input_bytes(checkpoint), _num_weights(checkpoint)
    probes = _SizeProbes(checkpoint, limit, progress)
    step = approach_limit(probes.size, limit, start=DEFAULT_STEP, safe=COARSEST_STEP, bold=FINEST_STEP, probes=SIZE_PROBES)
    if step is None:
        size = probes.smallest
        raise TargetError(
            f"{limit:,.0f} bytes are out of reach: the smallest file takes {size:,} "
            f"({input_bytes / size:.1f}x, {8 * size / max(weights, 1):.2f} bits per weight); ask for less with --ratio or --bpw"
        )
    return AutoCodec(step if probes.best is None else probes.best)


def _input_bytes(checkpoint: Checkpoint) -> int:
    return sum(tensor.nbytes for tensor in checkpoint.tensors.values())


def _num_weights(checkpoint: Checkpoint) -> int:
    return sum(tensor.numel() for tensor in checkpoint.tensors.values() if tensor.dtype.is_floating_point)


def _meet_error(checkpoint: Checkpoint, max_error: float) -> Plan:
    """Tensors that have no room for an error beside the rounding to their dtype are stored exactly, by the encoding itself."""
    bounds = {
        name: max_error - _rounding(checkpoint.tensors[name].dtype, magnitudes.largest + max_error)
        for name, magnitudes in lossy_magnitudes(checkpoint).items()
    }
    return Plan(BoundedCodec({name: bound if bound > 0 else max_error for name, bound in bounds.items()}), max_error)


def _rounding(dtype: torch.dtype, largest: float) -> float:
    """How far a restored value of at most this magnitude can be off because it is rounded to float32 and to its dtype."""
    return sum(0.5 * info.eps * max(largest, info.tiny) for info in map(torch.finfo, {torch.float32, dtype}))


class _SizeProbes:
    """Sizes of files by step; the step of the largest file within the limit is kept."""

    def __init__(self, checkpoint: Checkpoint, limit: float, progress: Progress) -> None:
        self._checkpoint, self._limit, self._progress = checkpoint, limit, progress
        self._done, self._best_size = 0, -1
        self.smallest = sys.maxsize
        self.best: float | None = None

    def size(self, step: float) -> float:
        """Bytes of the file at this step."""
        size = file_size(self._checkpoint, AutoCodec(step))
        self.smallest = min(self.smallest, size)
        if self._best_size < size <= self._limit:
            self.best, self._best_size = step, size
        self._done += 1
        detail = f"step {step:.3g}: {size:,} bytes, at most {self._limit:,.0f} wanted"
        self._progress(ProgressEvent("searching", self._done, max(self._done, SIZE_PROBES), detail))
        return float(size)
