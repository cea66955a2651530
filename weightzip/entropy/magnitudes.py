"""Frequency tables of magnitudes, one per scale class and quantiser, each told as what its neighbour does not predict.

A class's deviation is a quarter octave above that of the class below it, so that its table is about its neighbour's, stretched:
g_c(x) = g_(c-1)(x / 2^(1/4)), with g the logarithm of a magnitude's frequency. From the class with the most symbols outwards
(itself guessed to be Gaussian), what differs from this guess is stored, in eighths of an octave and only as far as it saves
more bits than it takes. Everything is integer arithmetic, hence the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.integers import encode_integers
from weightzip.errors import FormatError

PROBABILITY_BITS = 14
DIRECT = 16  # magnitudes that are symbols of their own; above, there are two buckets to an octave, and extra bits
ALPHABET = DIRECT + 2 * (30 - 4)  # magnitudes below 2^30, whose points fit 32 bits
MAX_CLASSES = 64
MAX_WIDTH_LOG2 = 2  # classes may share tables by 2 or 4

_UNIT = 8  # steps of a logarithm per octave
_RANGE = _UNIT * PROBABILITY_BITS
_MAX_LOG = 1 << 12
_ONE = 1 << 16  # of the stretching's fixed point
_STRETCH = {1: 77936, 2: 92682, 4: 131072}  # 2^(width / 4)
_SHRINK = {1: 55109, 2: 46341, 4: 32768}
# 2^(c/8) in fixed point, by integer square roots alone.
_POWERS = np.array([isqrt(isqrt(isqrt(1 << (c + 128)))) for c in range(_RANGE + 1)], np.int64)
_UNSEEN = 0.3  # what a magnitude that did not occur is counted as
_BITS_PER_DIFFERENCE, _BITS_PER_ZERO = 5.0, 1.0  # about what a difference takes, and the lack of one
_CLASS_OF_ONE_STEP = 24
_OCTAVES = 378170  # 65536 * 8 / (2 ln 2): a Gaussian's logarithm falls by this for every squared deviation
_ABOVE_ZERO = (8, 28)  # by quantiser: a magnitude has two signs, and quantiser 1 takes zero only where it must
_STEEPEST_END = -1  # a guess that is too short is continued downwards
_BITS_PER_SQUARED_OCTAVE = 0.3466  # what a logarithm that is off by d octaves costs, for every symbol: d^2 ln(2) / 2


Pair = tuple[tuple[int, ...], tuple[int, ...]]  # one table for each quantiser


@dataclass(frozen=True)
class MagnitudeTables:
    """logs: per table and quantiser, each magnitude symbol's logarithm of frequency over that of zero, in eighths of an octave.

    Table t serves the classes from (first + t) << width_log2 on; `start` is the one that is told first.
    """

    first: int
    width_log2: int
    start: int
    logs: tuple[Pair, ...]

    @staticmethod
    def fit(counts: NDArray[np.int64], widths_log2: Sequence[int] = range(MAX_WIDTH_LOG2 + 1)) -> MagnitudeTables:
        """The tables of shortest code, their own included, for symbols that occur so often [classes, 2, ALPHABET].

        widths_log2: how many classes may share a table; where there is one choice, nothing is compared.
        """
        candidates = [_fit(counts, width_log2) for width_log2 in widths_log2]
        if len(candidates) == 1:
            return candidates[0]
        return min(candidates, key=lambda tables: tables.cost(counts) + 8 * len(encode_integers(tables.to_integers())))

    @cached_property
    def frequencies(self) -> NDArray[np.uint16]:
        """Frequencies [tables, 2, ALPHABET] that sum to 2^PROBABILITY_BITS; what a table lacks has none."""
        tables = [[_frequencies(table) for table in pair] for pair in self.logs]
        return np.array(tables, np.uint16).reshape(-1, 2, ALPHABET)

    @cached_property
    def starts(self) -> NDArray[np.uint16]:
        """Where each magnitude's share of the slots begins, [tables, 2, ALPHABET]."""
        ends = np.cumsum(self.frequencies, axis=2, dtype=np.int64)
        starts: NDArray[np.uint16] = (ends - self.frequencies).astype(np.uint16)
        return starts

    @cached_property
    def lookup(self) -> NDArray[np.uint8]:
        """The magnitude symbol of each of the 2^PROBABILITY_BITS slots, [tables, 2, slots]."""
        symbols = np.arange(ALPHABET, dtype=np.uint8)
        rows = [np.repeat(symbols, row) for row in self.frequencies.reshape(-1, ALPHABET)]
        return np.array(rows, np.uint8).reshape(-1, 2, 1 << PROBABILITY_BITS)

    def index(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The table of each class. Raises FormatError where there is none."""
        index: NDArray[np.uint8] = (classes >> np.uint8(self.width_log2)) - np.uint8(self.first)  # wraps below the first one
        if index.size and int(index.max()) >= len(self.logs):
            raise FormatError("a symbol's class has no frequency table")
        return index

    def bits(self, num_classes: int, num_magnitudes: int) -> NDArray[np.float32]:
        """Bits of each magnitude, its sign included, for classes 0 to num_classes - 1: [num_classes, 2, num_magnitudes]."""
        if not self.logs:
            return np.zeros((num_classes, 2, num_magnitudes), np.float32)
        tables = np.clip((np.arange(num_classes) >> self.width_log2) - self.first, 0, len(self.logs) - 1)
        frequencies = self.frequencies[tables][:, :, :num_magnitudes].astype(np.float32)
        bits: NDArray[np.float32] = PROBABILITY_BITS - np.log2(np.maximum(frequencies, np.float32(0.5)))
        bits[:, :, 1:] += 1
        return bits

    def code_lengths(
        self, magnitudes: NDArray[np.int32], classes: NDArray[np.uint8], quantisers: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Bits of each of the magnitudes [n] of these classes and quantisers, sign and extra bits included."""
        octaves = np.frexp(magnitudes)[1].astype(np.int32) - 1  # that a magnitude begins, from 0 on
        extra = np.where(magnitudes < DIRECT, 0, octaves - 1)
        buckets = DIRECT + 2 * (octaves - 4) + (magnitudes >> np.maximum(extra, 0) & 1)
        symbols = np.where(magnitudes < DIRECT, magnitudes, buckets)
        lengths: NDArray[np.float32] = self.bits(MAX_CLASSES, ALPHABET)[classes, quantisers, symbols] + extra.astype(np.float32)
        return lengths

    def cost(self, counts: NDArray[np.int64]) -> float:
        """Bits that symbols with these counts [classes, 2, ALPHABET] take, without signs and extra bits."""
        merged = _merge(counts, self.width_log2)[self.first : self.first + len(self.logs)]
        return float((merged * (PROBABILITY_BITS - np.log2(np.maximum(self.frequencies, 0.5)))).sum())

    def to_integers(self) -> list[int]:
        """The tables as a list of small integers."""
        values = [self.first, self.width_log2, len(self.logs), self.start]
        for table, neighbour in _outwards(self.start, len(self.logs)):
            for quantiser in (0, 1):
                guess = _guess(self.logs, table, neighbour, quantiser, self.first, self.width_log2)
                values += _difference(self.logs[table][quantiser], guess)
        return values

    @staticmethod
    def from_integers(values: Iterator[int]) -> MagnitudeTables:
        """Inverse of `to_integers`. Raises FormatError on anything it would not have written."""
        first, width_log2, count, start = islice(values, 4)
        in_range = first >= 0 and 0 <= width_log2 <= MAX_WIDTH_LOG2 and 0 <= start <= count
        if not in_range or (start == count and count) or first + count > MAX_CLASSES >> width_log2:
            raise FormatError("the frequency tables are out of range")
        logs: list[Pair] = [((), ())] * count
        for table, neighbour in _outwards(start, count):
            for quantiser in (0, 1):
                guess = _guess(logs, table, neighbour, quantiser, first, width_log2)
                logs[table] = _with(logs[table], quantiser, _told(values, guess))
        return MagnitudeTables(first, width_log2, start, tuple(logs))


def _fit(counts: NDArray[np.int64], width_log2: int) -> MagnitudeTables:
    merged = _merge(counts, width_log2)
    used = np.flatnonzero(merged.any(axis=(1, 2)))
    if not used.size:
        return MagnitudeTables(0, width_log2, 0, ())
    first, count = int(used[0]), int(used[-1] - used[0]) + 1
    start = int(merged.sum(axis=(1, 2)).argmax()) - first
    logs: list[Pair] = [((), ())] * count
    for table, neighbour in _outwards(start, count):
        for quantiser in (0, 1):
            guess = _guess(logs, table, neighbour, quantiser, first, width_log2)
            logs[table] = _with(logs[table], quantiser, _corrected(merged[first + table, quantiser], guess))
    return MagnitudeTables(first, width_log2, start, tuple(logs))


def _merge(counts: NDArray[np.int64], width_log2: int) -> NDArray[np.int64]:
    """Counts [classes, 2, ALPHABET] of classes that share a table, added up."""
    width = 1 << width_log2
    padded = np.pad(counts, ((0, -len(counts) % width), (0, 0), (0, 0)))
    merged: NDArray[np.int64] = padded.reshape(-1, width, 2, ALPHABET).sum(axis=1)
    return merged


def _outwards(start: int, count: int) -> Iterator[tuple[int, int]]:
    """All tables, each after the neighbour that predicts it: (table, neighbour); the first is its own."""
    if count:
        yield start, start
    yield from ((table, table - 1) for table in range(start + 1, count))
    yield from ((table, table + 1) for table in range(start - 1, -1, -1))


def _with(pair: Pair, quantiser: int, table: tuple[int, ...]) -> Pair:
    return (table, pair[1]) if quantiser == 0 else (pair[0], table)


def _guess(logs: Sequence[Pair], table: int, neighbour: int, quantiser: int, first: int, width_log2: int) -> tuple[int, ...]:
    """What a table is predicted to be from the one beside it; the one told first, from a Gaussian."""
    width = 1 << width_log2
    if table != neighbour:
        return _stretched(logs[neighbour][quantiser], quantiser, _SHRINK[width] if table > neighbour else _STRETCH[width])
    return _gaussian(((first + table) << width_log2) + width // 2, quantiser)


def _gaussian(scale_class: int, quantiser: int) -> tuple[int, ...]:
    """A Gaussian with the deviation of a class, as far as it is at most 10 octaves below its top."""
    precision = isqrt(1 << (64 + _CLASS_OF_ONE_STEP + 64 - scale_class))  # 1 / variance, times 2^64
    table = [0]
    for magnitude in range(1, DIRECT):
        place = 2 * magnitude - quantiser
        table.append(_ABOVE_ZERO[quantiser] - (place * place * _OCTAVES * precision >> 80))
    return tuple(log for log in table if log > -10 * _UNIT)


def _stretched(table: tuple[int, ...], quantiser: int, ratio: int) -> tuple[int, ...]:
    """A table [n] with each point's logarithm read off where its position times `ratio` lies; as long as that allows."""
    stretched: list[int] = []
    while len(stretched) < DIRECT:
        # The magnitude whose point 2m - q is the wanted point times the ratio, in fixed point.
        place = ((2 * len(stretched) - quantiser) * ratio + quantiser * _ONE) // 2 if stretched else 0
        whole, part = divmod(place, _ONE)
        if whole >= len(table):
            break
        low, high = table[whole], table[min(whole + 1, len(table) - 1)]
        stretched.append((low * (_ONE - part) + high * part + _ONE // 2) // _ONE)
    return tuple(stretched)


def _corrected(counts: NDArray[np.int64], guess: tuple[int, ...]) -> tuple[int, ...]:
    """The guess, longer where the counts [ALPHABET] need it, and corrected where that saves more bits than it takes."""
    if not counts.any():
        return guess
    needed = int(np.flatnonzero(counts)[-1]) + 1
    candidates = [_padded(guess, size) for size in {max(needed, len(guess)), needed}]
    candidates += [_moved(counts, candidate) for candidate in candidates]
    return min(candidates, key=lambda table: _told_bits(table, guess) + _coded_bits(counts, table))


def _moved(counts: NDArray[np.int64], guess: tuple[int, ...]) -> tuple[int, ...]:
    """A guess with those logarithms moved to what the counts say that would otherwise cost more than telling it does."""
    seen = np.maximum(counts[: len(guess)], _UNSEEN)
    off = _UNIT * np.log2(seen / seen.sum()) - np.array(guess)
    # What most symbols are off by is no difference, as only ratios count: at first by the median, then by those near it.
    off -= np.rint(_median(off, seen))
    near = np.abs(off) <= _tolerance(seen)
    off -= np.rint((off * seen * near).sum() / seen.sum())
    moved = np.where(np.abs(off) > _tolerance(seen), np.rint(off), 0)
    return tuple(int(log) for log in np.clip(np.array(guess) + moved, -_MAX_LOG, _MAX_LOG))


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order[int(np.searchsorted(reached, reached[-1] / 2))]])


def _tolerance(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a logarithm may be off before telling it pays."""
    tolerance: NDArray[np.float64] = _UNIT * np.sqrt(_BITS_PER_DIFFERENCE / (_BITS_PER_SQUARED_OCTAVE * seen))
    return tolerance


def _coded_bits(counts: NDArray[np.int64], table: tuple[int, ...]) -> float:
    frequencies = _frequencies(table)
    used = counts > 0
    return float((counts[used] * (PROBABILITY_BITS - np.log2(np.maximum(frequencies[used], 0.01)))).sum())


def _told_bits(table: tuple[int, ...], guess: tuple[int, ...]) -> float:
    told = _difference(table, guess)
    return sum(_BITS_PER_DIFFERENCE if value else _BITS_PER_ZERO for value in told)


def _padded(guess: tuple[int, ...], size: int) -> tuple[int, ...]:
    """A guess cut or continued to `size`, with the slope of its end."""
    table = guess[:size]
    slope = min(table[-1] - table[-2], _STEEPEST_END) if len(table) > 1 else _STEEPEST_END
    return table + tuple(max(table[-1] + slope * step, -_MAX_LOG) for step in range(1, size - len(table) + 1))


_AS_GUESSED, _OTHER_LENGTH, _OTHER_VALUES = 0, 1, 2


def _difference(table: tuple[int, ...], guess: tuple[int, ...]) -> list[int]:
    """How a table is told, given its guess: as it is; in another length; or with what each logarithm differs by."""
    if table == guess:
        return [_AS_GUESSED]
    padded = _padded(guess, len(table))
    if table == padded:
        return [_OTHER_LENGTH, len(table) - len(guess)]
    return [_OTHER_VALUES, len(table) - len(guess), *(log - other for log, other in zip(table, padded, strict=True))]


def _told(values: Iterator[int], guess: tuple[int, ...]) -> tuple[int, ...]:
    """Inverse of `_difference`."""
    how = next(values)
    if how == _AS_GUESSED:
        return guess
    size = len(guess) + next(values)
    if not 1 <= size <= ALPHABET or how not in (_OTHER_LENGTH, _OTHER_VALUES):
        raise FormatError("a frequency table is told in an unknown way or longer than its alphabet")
    table = _padded(guess, size)
    if how == _OTHER_VALUES:
        table = tuple(log + next(values) for log in table)
    if any(abs(log) > _MAX_LOG for log in table):
        raise FormatError("a frequency is out of range")
    return table


def _frequencies(table: tuple[int, ...]) -> NDArray[np.int64]:
    """Frequencies [ALPHABET] with the sum 2^PROBABILITY_BITS, at least 1 each, from logarithms."""
    frequencies = np.zeros(ALPHABET, np.int64)
    logs = np.array(table, np.int64)
    powers = _POWERS[np.maximum(logs - logs.max() + _RANGE, 0)]
    shares = np.maximum((powers << PROBABILITY_BITS) // powers.sum(), 1)
    shares[int(shares.argmax())] += (1 << PROBABILITY_BITS) - int(shares.sum())
    frequencies[: len(table)] = shares
    return frequencies
