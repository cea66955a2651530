"""Magnitude pruning: the smallest weights become zero, and only the others are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightzip.baselines.floats import PRECISIONS, Precision, Weights, float_bytes
from weightzip.baselines.packing import pack
from weightzip.baselines.reader import open_sections
from weightzip.baselines.sparse import position_bytes, read_positions
from weightzip.baselines.tensors import check_setting, join, split, track
from weightzip.errors import UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent

Scope = Literal["global", "layer"]
_SCOPES = ("global", "layer")


@dataclass(frozen=True)
class MagnitudePruning:
    """One-shot magnitude pruning without retraining, stored sparsely (LeCun et al. 1990; Han et al. 2015).

    sparsity: fraction of the large tensors' weights set to zero, 0 <= sparsity < 1. Small tensors stay whole.
    scope: "global" ranks all weights together, "layer" prunes every tensor by the same fraction.
    precision: of the survivors. float16 (the default) halves what they take and changes them by less than 0.05%.
    """

    sparsity: float = 0.9
    scope: Scope = "global"
    precision: Precision = "float16"
    name: ClassVar[str] = "baseline/prune"

    def __post_init__(self) -> None:
        check_pruning(self.sparsity, self.scope)
        check_setting("precision", self.precision, PRECISIONS)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Sections: positions (bitmap or gaps), values (of the survivors), small (float16)."""
        matrices, small = split(tensors)
        masks = survivors(matrices, self.sparsity, self.scope)
        positions, values = [], []
        for name, matrix in track(matrices, "magnitude pruning", progress):
            positions.append(position_bytes(masks[name]))
            values.append(float_bytes(matrix.ravel()[masks[name]], self.precision))
        return Payload({"positions": pack(b"".join(positions)), "values": pack(b"".join(values)), "small": pack(small)})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, zero but for the survivors. Raises FormatError."""
        with open_sections(payload, specs, ("positions", "values", "small")) as (positions, values, small):

            def decode_matrix(rows: int, columns: int) -> Weights:
                nonzero = read_positions(positions, rows * columns)
                return scatter(nonzero, values.floats(len(nonzero)), rows * columns)

            return join(specs, small, decode_matrix)


def check_pruning(sparsity: float, scope: Scope) -> None:
    """Raise UsageError unless the settings make sense."""
    check_setting("scope", scope, _SCOPES)
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity is {sparsity}; choose a number from 0 up to, but not including, 1")


def survivors(matrices: Mapping[str, Weights], sparsity: float, scope: Scope) -> dict[str, NDArray[np.bool_]]:
    """Masks [rows * columns] of the weights kept, by name: exactly the fraction 1 - sparsity, but never a zero."""
    magnitudes = {name: np.abs(matrix).ravel() for name, matrix in matrices.items()}
    if scope == "layer":
        return {name: _largest(magnitude, sparsity) for name, magnitude in magnitudes.items()}
    mask = _largest(np.concatenate([np.empty(0, np.float32), *magnitudes.values()]), sparsity)
    ends = accumulate(magnitude.size for magnitude in magnitudes.values())
    return {name: mask[end - magnitudes[name].size : end] for name, end in zip(magnitudes, ends, strict=True)}


def scatter(positions: NDArray[np.int64], values: Weights, size: int) -> Weights:
    """An array of `size` zeros with `values` at `positions`."""
    array = np.zeros(size, np.float32)
    array[positions] = values
    return array


def _largest(magnitudes: Weights, sparsity: float) -> NDArray[np.bool_]:
    """A mask of the largest (1 - sparsity) * N magnitudes; of equals at the threshold, the first."""
    num_pruned = round(sparsity * len(magnitudes))
    mask = np.zeros(len(magnitudes), np.bool_)
    if num_pruned < len(magnitudes):
        threshold = np.partition(magnitudes, num_pruned)[num_pruned]
        mask |= magnitudes > threshold
        ties = np.flatnonzero(magnitudes == threshold)
        mask[ties[: len(magnitudes) - num_pruned - np.count_nonzero(mask)]] = True
        mask &= magnitudes > 0
    return mask
