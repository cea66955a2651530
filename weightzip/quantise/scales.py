"""The scales of version 1, for reading old files: one small integer per row and per column of a matrix.

Weights were modelled as N(0, v[i, j]) with a separable variance v[i, j] = row[i] * column[j]. In units of the step size and
of half octaves, log variance becomes row_code[i] + column_code[j]: the scale class is a sum of integers, the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_CLASSES = 24  # class 6 is that of values whose deviation is one step


@dataclass(frozen=True)
class Scales:
    """row: int [rows]; column: int [columns], in half octaves, which add up to the class."""

    row: NDArray[np.int32]
    column: NDArray[np.int32]

    def classes(self) -> NDArray[np.uint8]:
        """The scale class of every value, [rows, columns], from 0 to 23."""
        total = self.row[:, None].astype(np.int64) + self.column[None, :]
        classes: NDArray[np.uint8] = np.clip(total, 0, _MAX_CLASSES - 1).astype(np.uint8)
        return classes
