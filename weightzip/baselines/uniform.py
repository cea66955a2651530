"""Uniform quantisation: every weight an integer multiple of its tensor's or its output channel's step size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightzip.baselines.floats import Weights, as_stored, float_bytes, to_float32
from weightzip.baselines.packing import index_bytes, pack
from weightzip.baselines.reader import open_sections, read_setting
from weightzip.baselines.tensors import check_setting, join, split, track
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent

_BITS = range(2, 9)
_GRANULARITIES = ("tensor", "channel")
_CLIP_RATIOS = [0.9**power for power in range(24)]  # down to 0.09: the optimum of 2 bits on heavy tails


@dataclass(frozen=True)
class UniformQuantisation:
    """Symmetric uniform quantisation to the integers of two's complement times a step size (Jacob et al. 2018).

    Step sizes are float16; each clips its range where that lowers the mean square error (a search over clip ratios, as
    in Banner et al. 2019). On mnist-fnn, an asymmetric grid (a zero point) gave no better accuracy at the same size.

    bits: bits per weight before zstandard, 2 to 8.
    granularity: one step size per "tensor", or per "channel" (the first dimension: output channels, rows).
    """

    bits: int = 8
    granularity: Literal["tensor", "channel"] = "channel"
    name: ClassVar[str] = "baseline/uniform"

    def __post_init__(self) -> None:
        check_setting("bits", self.bits, _BITS)
        check_setting("granularity", self.granularity, _GRANULARITIES)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Sections: indices (b bits each), steps (float16), small (float16)."""
        matrices, small = split(tensors)
        indices, steps = [], []
        for _, matrix in track(matrices, "uniform quantisation", progress):
            rows = matrix if self.granularity == "channel" else matrix.reshape(1, -1)
            row_steps = fit_steps(rows, self.bits)
            indices.append(index_bytes(_quantise(rows, row_steps, self.bits).ravel(), self.bits))
            steps.append(float_bytes(row_steps, "float16"))
        sections = {"indices": pack(b"".join(indices)), "steps": pack(b"".join(steps)), "small": pack(small)}
        return Payload(sections, {"bits": self.bits, "granularity": self.granularity})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, each weight a level times its step size. Raises FormatError."""
        bits = read_setting(payload, "bits", _BITS)
        per_channel = read_setting(payload, "granularity", _GRANULARITIES) == "channel"
        with open_sections(payload, specs, ("indices", "steps", "small")) as (indices, steps, small):

            def decode_matrix(rows: int, columns: int) -> Weights:
                row_steps = steps.floats(rows if per_channel else 1)
                levels = indices.indices(rows * columns, bits).astype(np.float64) - 2 ** (bits - 1)
                return to_float32(levels.reshape(len(row_steps), -1) * row_steps[:, None])

            return join(specs, small, decode_matrix)


def fit_steps(rows: Weights, bits: int) -> Weights:
    """The step size of each row of [rows, columns], as stored: of the ratios searched, that of least square error."""
    highest = 2 ** (bits - 1) - 1
    extremes = np.abs(rows).max(axis=1)  # [rows]
    extremes[extremes == 0] = 1
    normalised = rows / extremes[:, None]  # in [-1, 1], so that squares cannot overflow
    best_error = np.full(len(rows), np.inf, np.float32)
    best_ratio = np.ones(len(rows), np.float32)
    for ratio in _CLIP_RATIOS:
        step = np.float32(ratio / highest)
        levels = np.clip(np.rint(normalised / step), -highest - 1, highest)
        error = np.square(levels * step - normalised).sum(axis=1)
        better = error < best_error
        best_error[better] = error[better]
        best_ratio[better] = ratio
    return as_stored(extremes * best_ratio / np.float32(highest), "float16")


def _quantise(rows: Weights, steps: Weights, bits: int) -> NDArray[np.uint8]:
    """Indices [rows, columns]: the nearest level, counted from the lowest."""
    divisors = np.where(steps == 0, 1, steps)[:, None].astype(np.float64)
    lowest = -(2 ** (bits - 1))
    levels = np.clip(np.rint(rows / divisors), lowest, -lowest - 1)
    indices: NDArray[np.uint8] = (levels - lowest).astype(np.uint8)
    return indices
