"""Frequency tables: one per scale class, kept as logarithms of six bits or so, turned into probabilities by integers.

A frequency is stored as c = round(4 log2 f), which is off by 9% at most and costs 0.002 bit a symbol; 0 means absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import constriction
import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.integers import deltas
from weightzip.errors import FormatError

MAX_CLASSES = 256
_RESOLUTION = 4  # steps per octave
_TOP = 80  # the commonest symbol's logarithm: frequencies span 2^20
# 2^(c/4) in fixed point, by integer square roots alone, hence the same on every machine.
_POWERS = np.array([0] + [isqrt(isqrt((1 << c) << 32)) for c in range(1, _TOP + 1)], dtype=np.int64)


@dataclass(frozen=True)
class Tables:
    """Tables [num_classes, alphabet] of quantised log frequencies; a class that never occurs has none."""

    codes: tuple[tuple[int, ...], ...]

    @staticmethod
    def fit(symbols: NDArray[np.int32], classes: NDArray[np.uint8] | None, alphabet: int) -> Tables:
        """Tables for the symbols [n] as they occur in their classes [n] (None: all in class 0)."""
        num_classes = 1 if classes is None else int(classes.max(initial=0)) + 1
        index = symbols if classes is None else classes.astype(np.int64) * alphabet + symbols
        counts = np.bincount(index, minlength=num_classes * alphabet).reshape(num_classes, alphabet)
        return Tables(tuple(_quantise(row) for row in counts))

    @staticmethod
    def from_integers(values: list[int]) -> Tables:
        """Inverse of `to_integers`. Raises FormatError on anything it would not have written."""
        reader = iter(values)
        try:
            tables = [_undelta([next(reader) for _ in range(next(reader))]) for _ in range(next(reader))]
        except (StopIteration, RuntimeError) as error:
            raise FormatError("a frequency table ends early") from error
        if next(reader, None) is not None or len(tables) > MAX_CLASSES:
            raise FormatError("frequency tables hold more than they announce")
        if any(not 0 <= code <= _TOP for table in tables for code in table):
            raise FormatError("a frequency is out of range")
        return Tables(tuple(tables))

    def to_integers(self) -> list[int]:
        """All tables as one list of small integers, each frequency predicted from its neighbour of the same sign."""
        values = [len(self.codes)]
        for table in self.codes:
            values += [len(table), *deltas(table[0::2]), *deltas(table[1::2])]
        return values

    def model(self, scale_class: int) -> object:
        """The entropy model of a class, for constriction's coders. Raises FormatError for a class without symbols."""
        if scale_class >= len(self.codes) or not any(self.codes[scale_class]):
            raise FormatError("a symbol's class has no frequency table")
        weights = _POWERS[[*self.codes[scale_class], 0]].astype(np.float64)  # at least two symbols, as constriction asks
        return constriction.stream.model.Categorical(weights / weights.sum(), perfect=False)


def _quantise(counts: NDArray[np.int64]) -> tuple[int, ...]:
    """Counts [alphabet] as logarithms, without the absent symbols at the end."""
    size = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    counts = counts[:size]
    logs = np.rint(_TOP + _RESOLUTION * np.log2(np.maximum(counts, 1) / max(int(counts.max(initial=1)), 1)))
    return tuple(int(code) for code in np.where(counts > 0, np.maximum(logs, 1), 0))


def _undelta(values: list[int]) -> tuple[int, ...]:
    even = np.cumsum(values[: (len(values) + 1) // 2], dtype=np.int64)
    odd = np.cumsum(values[(len(values) + 1) // 2 :], dtype=np.int64)
    table = np.empty(len(values), np.int64)
    table[0::2], table[1::2] = even, odd
    return tuple(int(code) for code in table)
