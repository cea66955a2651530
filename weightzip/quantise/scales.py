"""A scale for every weight of a matrix from one small integer per row and per column.

Weights are modelled as N(0, v[i, j]) with a separable variance v[i, j] = row[i] * column[j]. In units of the step size and
of half octaves, log variance becomes row_code[i] + column_code[j]: the scale class is a sum of integers, the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 24
_CLASS_OF_ONE_STEP = 6  # the class of values whose deviation is one step; 3 octaves below it symbols are nearly all zero
_HALF_OCTAVES = 2  # classes per octave of the deviation
_ITERATIONS = 4
_BITS_PER_CODE = 3.0  # of one row or column: 1.7 to 3.3 on the zoo, most in the smallest files, where it matters most


@dataclass(frozen=True)
class Scales:
    """row: int [rows]; column: int [columns], in half octaves; a side that does not pay is all zero and costs nothing."""

    row: NDArray[np.int32]
    column: NDArray[np.int32]

    def classes(self) -> NDArray[np.uint8]:
        """The scale class of every value, [rows, columns], below MAX_CLASSES."""
        total = self.row[:, None].astype(np.int64) + self.column[None, :]
        classes: NDArray[np.uint8] = np.clip(total, 0, MAX_CLASSES - 1).astype(np.uint8)
        return classes


def fit_scales(values: NDArray[np.floating]) -> Scales:
    """Scales for values [rows, columns] given in units of the step size.

    Of no, row, column, and row x column scales the one with the shortest code is taken.
    """
    power = values.astype(np.float64) ** 2 + 1e-12
    row, column = _separable(power)
    level = float(power.mean()) if power.size else 1.0
    flat_row, flat_column = np.full(power.shape[0], level), np.ones(power.shape[1])
    candidates = [
        (flat_row, flat_column, 0),
        (power.mean(axis=1) if power.size else flat_row, flat_column, power.shape[0]),
        (flat_row, power.mean(axis=0) / level if power.size else flat_column, power.shape[1]),
        (row, column, power.shape[0] + power.shape[1]),
    ]
    best_row, best_column, _ = min(candidates, key=lambda c: _bits(c[0], c[1]) + _BITS_PER_CODE * c[2])
    return Scales(_codes(best_row) + _CLASS_OF_ONE_STEP, _codes(best_column))


def _separable(power: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Maximum-likelihood row and column variances of a separable Gaussian, by alternation; columns average to about 1."""
    row, column = np.ones(power.shape[0]), np.ones(power.shape[1])
    if not power.size:
        return row, column
    for _ in range(_ITERATIONS):
        row = (power / column).mean(axis=1)
        column = (power / row[:, None]).mean(axis=0)
    level = np.exp(np.log(column).mean())
    return row * level, column / level


def _bits(row: NDArray[np.float64], column: NDArray[np.float64]) -> float:
    """About the bits that values with these variances (in squared steps) take: 1/2 log2(1 + 12 v), a smooth estimate."""
    return float(0.5 * np.log2(1.0 + 12.0 * row[:, None] * column[None, :]).sum())


def _codes(variance: NDArray[np.float64]) -> NDArray[np.int32]:
    codes = np.rint(0.5 * _HALF_OCTAVES * np.log2(variance))
    return np.clip(codes, -2 * MAX_CLASSES, 2 * MAX_CLASSES).astype(np.int32)
