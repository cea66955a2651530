"""Reading the integer matrices of version 1: from two byte strings, of scales and of symbols.

    scales:  per matrix and side 1 and every code's difference from the one before, or 0 and the one code that all share
    symbols: those of all matrices, one after the other, under one table for each scale class

Files of both codecs' first versions hold them; the weights' and the VAE's decoder's alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import decode, read_integers
from weightzip.errors import LimitError
from weightzip.quantise import Scales

_MAX_CODES = 1 << 20  # scales that may vary in files of few symbols; they are read one by one, which is slow
_SYMBOLS_PER_CODE = 16  # one more scale may vary for so many symbols
_BLOCK = 1 << 18  # symbols whose classes are computed together, which bounds memory


@dataclass(frozen=True)
class CodedMatrices:
    """The scales of all matrices, and their symbols under one set of tables."""

    scales: bytes
    symbols: bytes


def decode_matrices(coded: CodedMatrices, shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.int32]]:
    """The symbols of the matrices of these shapes; takes ten bytes for each at the peak: itself, its class, its extra bits.

    Raises FormatError where the bytes do not fit the shapes, LimitError where more scales vary than was ever written.
    """
    if not shapes:
        return []
    classes = _classes(_read_scales(coded.scales, shapes))
    symbols = decode(coded.symbols, classes.size, classes)
    parts = np.split(symbols, np.cumsum([rows * columns for rows, columns in shapes])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _classes(scales: Sequence[Scales]) -> NDArray[np.uint8]:
    """The scale classes of all symbols of all matrices, one after the other."""
    classes = np.empty(sum(scale.row.size * scale.column.size for scale in scales), np.uint8)
    start = 0
    for scale in scales:
        shape = scale.row.size, scale.column.size
        matrix = classes[start : start + shape[0] * shape[1]].reshape(shape)
        for block in _blocks(*shape):
            matrix[block] = Scales(scale.row[block[0]], scale.column[block[1]]).classes()
        start += matrix.size
    return classes


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """A matrix cut into blocks of at most _BLOCK elements."""
    width = min(columns, _BLOCK)
    height = _BLOCK // max(width, 1)
    for top in range(0, rows, height):
        for left in range(0, columns, _BLOCK):
            yield slice(top, top + height), slice(left, left + width)


def _max_codes(num_symbols: int) -> int:
    return _MAX_CODES + num_symbols // _SYMBOLS_PER_CODE


def _read_scales(data: bytes, shapes: Sequence[tuple[int, int]]) -> list[Scales]:
    integers = read_integers(data)
    left = limit = _max_codes(sum(rows * columns for rows, columns in shapes))

    def side(size: int) -> NDArray[np.int32]:
        nonlocal left
        varies = next(integers)
        left -= size if varies else 0
        if left < 0:
            raise LimitError(f"more than {limit:,} rows and columns have scales of their own")
        count = size if varies else min(size, 1)
        codes = np.cumsum(np.fromiter(islice(integers, count), np.int64, count)).astype(np.int32)
        return np.broadcast_to(codes, size) if count else np.zeros(0, np.int32)

    return [Scales(side(rows), side(columns)) for rows, columns in shapes]
