"""Signed integers as symbols of a small alphabet plus raw extra bits, so that no outlier makes a table long.

Magnitudes below `direct` (a power of two) are buckets of their own. Above, each octave has two buckets and the position
inside the bucket is written raw:  m = (2 + half) << (e - 1) | extra,  e = floor(log2 m),  e - 1 extra bits.
Symbol 0 is zero; 2b - 1 and 2b are bucket b with sign plus and minus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightzip.errors import FormatError

MAX_MAGNITUDE = 2**31 - 1


@dataclass(frozen=True)
class Buckets:
    """An alphabet whose first 2^direct_log2 magnitudes are symbols of their own (direct_log2 between 1 and 16)."""

    direct_log2: int

    @property
    def direct(self) -> int:
        """Magnitudes below this have a symbol of their own."""
        return 1 << self.direct_log2

    @property
    def alphabet(self) -> int:
        """Number of symbols needed for every magnitude up to MAX_MAGNITUDE."""
        return 2 * (self.direct + 2 * (31 - self.direct_log2)) - 1

    def split(self, values: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint8]]:
        """Values [n] as (symbols [n], extra bits [n], number of extra bits [n])."""
        magnitude = np.abs(values.astype(np.int64))
        if magnitude.size and int(magnitude.max()) > MAX_MAGNITUDE:
            raise FormatError("integers to be coded must stay below 2^31 in magnitude")
        exponent = np.frexp(magnitude.astype(np.float64))[1] - 1  # exact: float64 holds 2^31
        shift = np.maximum(exponent - 1, 0)
        is_direct = magnitude < self.direct
        octave = self.direct + 2 * (exponent - self.direct_log2) + ((magnitude >> shift) & 1)
        bucket = np.where(is_direct, magnitude, octave)
        num_extra = np.where(is_direct, 0, shift)
        extra = magnitude & ((1 << num_extra) - 1)
        symbols = np.where(bucket == 0, 0, 2 * bucket - (values > 0))
        return symbols.astype(np.int32), extra.astype(np.uint32), num_extra.astype(np.uint8)

    def num_extra(self, symbols: NDArray[np.int32]) -> NDArray[np.uint8]:
        """How many extra bits follow each symbol [n]."""
        over = np.maximum((symbols + 1) // 2 - self.direct, -1)
        return np.where(over < 0, 0, over // 2 + self.direct_log2 - 1).astype(np.uint8)

    def join(self, symbols: NDArray[np.int32], extra: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The values [n] that `split` took apart."""
        bucket = (symbols.astype(np.int64) + 1) // 2
        half = (bucket - self.direct) & 1
        magnitude = np.where(bucket < self.direct, bucket, ((2 + half) << self.num_extra(symbols).astype(np.int64)) | extra)
        return np.where(symbols % 2 == 1, magnitude, -magnitude).astype(np.int32)
