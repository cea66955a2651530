"""Integer matrices as two byte strings: their scales and their symbols.

The one place where quantised numbers become bytes; the weights' codec and the VAE's decoder both go through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import decode, encode, encode_integers, read_integers
from weightzip.quantise import Scales, fit_scales, quantise


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


def quantise_matrices(matrices: Sequence[NDArray[np.float32]], *, tradeoff: float) -> list[Matrix]:
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
    classes = np.concatenate([matrix.scales.classes().reshape(-1) for matrix in matrices])
    symbols = np.concatenate([matrix.symbols.reshape(-1) for matrix in matrices])
    return CodedMatrices(encode_integers(_scale_integers(matrices)), encode(symbols, classes))


def decode_matrices(coded: CodedMatrices, shapes: Sequence[tuple[int, int]]) -> list[NDArray[np.int32]]:
    """The symbols of the matrices of these shapes. Raises FormatError where the bytes do not fit them."""
    if not shapes:
        return []
    classes = np.concatenate([scales.classes().reshape(-1) for scales in _read_scales(coded.scales, shapes)])
    symbols = decode(coded.symbols, classes.size, classes)
    parts = np.split(symbols, np.cumsum([rows * columns for rows, columns in shapes])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _scale_integers(matrices: Sequence[Matrix]) -> list[int]:
    """Per matrix and side: 1 and every code's difference from the one before, or 0 and the one code that all share."""
    integers: list[int] = []
    for matrix in matrices:
        for side in (matrix.scales.row, matrix.scales.column):
            constant = side.size == 0 or bool((side == side[0]).all())
            codes = side[:1] if constant else side
            integers += [int(not constant), *np.diff(codes, prepend=0).tolist()]
    return integers


def _read_scales(data: bytes, shapes: Sequence[tuple[int, int]]) -> list[Scales]:
    integers = read_integers(data)

    def side(size: int) -> NDArray[np.int32]:
        count = size if next(integers) else min(size, 1)
        codes = np.cumsum([next(integers) for _ in range(count)], dtype=np.int64).astype(np.int32)
        return np.broadcast_to(codes, size) if count else np.zeros(0, np.int32)

    return [Scales(side(rows), side(columns)) for rows, columns in shapes]
