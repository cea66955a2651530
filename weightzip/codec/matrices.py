"""Integer matrices as two byte strings: their scales and their symbols.

The one place where quantised numbers become bytes; the weights' codec and the VAE's decoder both go through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import decode, encode, encode_integers, read_integers
from weightzip.errors import LimitError
from weightzip.quantise import Scales, fit_scales, quantise

DECODING_BYTES = 10  # per symbol, at the peak of decoding: the symbol, its class, and its extra bits
_MAX_CODES = 1 << 20  # scales that may vary in files of few symbols; they are read one by one, which is slow
_SYMBOLS_PER_CODE = 16  # one more scale may vary for so many symbols
_BLOCK = 1 << 18  # symbols whose classes are computed together, which bounds memory


@dataclass(frozen=True)
class Matrix:
    """symbols: int32 [rows, columns]; scales: the scale classes under which they are coded."""

    symbols: NDArray[np.int32]
    scales: Scales


@dataclass(frozen=True)
class CodedMatrices:
    """What `encode_matrices` makes: the scales of all matrices, and their symbols under one set of tables."""

    scales: bytes
    symbols: bytes


def quantise_matrices(matrices: Sequence[NDArray[np.floating]], *, tradeoff: float) -> list[Matrix]:
    """Quantise matrices [rows, columns], given in units of their step sizes, at one price of bits for all of them."""
    scales = [fit_scales(matrix) for matrix in matrices]
    if not matrices:
        return []
    flat = np.concatenate([matrix.reshape(-1) for matrix in matrices])
    classes = np.concatenate([scale.classes().reshape(-1) for scale in scales])
    parts = np.split(quantise(flat, classes, tradeoff=tradeoff), np.cumsum([matrix.size for matrix in matrices])[:-1])
    return [Matrix(part.reshape(matrix.shape), scale) for part, matrix, scale in zip(parts, matrices, scales, strict=True)]


def encode_matrices(matrices: Sequence[Matrix]) -> CodedMatrices:
    """Code the matrices; their shapes are not stored."""
    if not matrices:
        return CodedMatrices(b"", b"")
    scales = _limit_codes([matrix.scales for matrix in matrices])
    symbols = np.concatenate([matrix.symbols.reshape(-1) for matrix in matrices])
    return CodedMatrices(encode_integers(_scale_integers(scales)), encode(symbols, _classes(scales)))


def decode_matrices(coded: CodedMatrices, shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.int32]]:
    """The symbols of the matrices of these shapes; takes DECODING_BYTES for each.

    Raises FormatError where the bytes do not fit the shapes, LimitError where more scales vary than `encode_matrices` allows.
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


def _varies(side: NDArray[np.int32]) -> bool:
    return side.size > 0 and bool((side != side[0]).any())


def _max_codes(num_symbols: int) -> int:
    return _MAX_CODES + num_symbols // _SYMBOLS_PER_CODE


def _limit_codes(scales: Sequence[Scales]) -> list[Scales]:
    """The scales, with one for all on those sides that would take more codes than may be read."""
    left = _max_codes(sum(scale.row.size * scale.column.size for scale in scales))

    def limited(side: NDArray[np.int32]) -> NDArray[np.int32]:
        nonlocal left
        if not _varies(side):
            return side
        if side.size > left:
            return np.full(side.size, np.rint(side.mean()), np.int32)
        left -= side.size
        return side

    return [Scales(limited(scale.row), limited(scale.column)) for scale in scales]


def _scale_integers(scales: Sequence[Scales]) -> list[int]:
    """Per matrix and side: 1 and every code's difference from the one before, or 0 and the one code that all share."""
    integers: list[int] = []
    for scale in scales:
        for side in (scale.row, scale.column):
            varies = _varies(side)
            integers += [int(varies), *np.diff(side if varies else side[:1], prepend=0).tolist()]
    return integers


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
