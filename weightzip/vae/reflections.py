"""Orthonormal columns as a product of Householder reflections, rebuilt in exact integers.

    Q [length, rank] = H_1 H_2 ... H_rank I [length, rank],   H_i = 1 - 2 v_i v_i' / v_i' v_i   (Householder 1958)

v_i is zero above place i, 1 at place i, and below it are the numbers that are stored, in steps of 2^-exponents[i]: half as
many as Q itself has. Whatever they are rounded to, Q stays orthonormal, so that latents keep their quantiser's distortion. For
an LSTM's recurrent weights of 512 x 128, rounding Q itself costs more than the transform saves; reflections cost half of it.

The same on every machine: products of matrices are sums of integers below 2^53, exact in whatever order they are added up, and
what lies between is single IEEE operations on one number each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.errors import FormatError

MAX_EXPONENT = 14
_BITS = 24  # of a fraction, on the way
_PANEL = 16  # reflections applied together
_LARGEST = 2.0**10  # of a sum on the way, in units of 1
Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reflections:
    """length: of the columns; exponents: int32 [rank]; numbers: int32, those below the diagonal, column by column."""

    length: int
    exponents: NDArray[np.int32]
    numbers: NDArray[np.int32]

    @property
    def rank(self) -> int:
        """Number of columns."""
        return len(self.exponents)

    def columns(self, bits: int) -> NDArray[np.int32]:
        """Q [length, rank] in units of 2^-bits, bits <= 24. Raises FormatError where it would not be exact."""
        columns = np.zeros((self.length, self.rank))  # in units of 2^-_BITS
        np.fill_diagonal(columns, 2.0**_BITS)
        for start in reversed(range(0, self.rank, _PANEL)):
            vectors = self._vectors(start)
            below = columns[start:, start:]  # what is left of it is still zero there
            moved = _product(vectors, _shares(vectors, below))
            np.ldexp(moved, -MAX_EXPONENT, out=moved)
            np.rint(np.subtract(below, moved, out=moved), out=below)
        np.ldexp(columns, bits - _BITS, out=columns)
        return np.rint(columns, out=columns).astype(np.int32)

    def _vectors(self, start: int) -> Reals:
        """A panel of v_i from place `start` on, [length - start, up to _PANEL], in units of 2^-MAX_EXPONENT.

        Raises FormatError where a number is larger than 1.
        """
        exponents = self.exponents[start : start + _PANEL]
        sizes = column_sizes(self.length, self.rank)
        first = int(sizes[:start].sum())
        panel = slice(first, first + int(sizes[start : start + _PANEL].sum()))
        vectors = np.zeros((self.length - start, len(exponents)))
        vectors.T[_below(*vectors.shape)] = self.numbers[panel]
        np.fill_diagonal(vectors, np.ldexp(1.0, exponents))
        if (np.abs(vectors) > np.diag(vectors)).any():
            raise FormatError("a transform's reflection is out of range")
        return np.ldexp(vectors, MAX_EXPONENT - exponents)

    def classes(self) -> NDArray[np.uint8]:
        """What size each number is about, in half octaves: a column's numbers share a square sum of about 1."""
        return np.repeat(_column_classes(self.length, self.exponents), column_sizes(self.length, self.rank))

    @staticmethod
    def of(columns: Reals, exponents: NDArray[np.int32]) -> Reflections:
        """Reflections whose product is near orthonormal columns [length, rank], but for their signs.

        Each column is taken as the reflections before it, rounded as they are, leave it.
        """
        length, rank = columns.shape
        left = torch.from_numpy(columns.copy())
        vectors = torch.zeros(length, rank, dtype=torch.float64)
        for start in range(0, rank, _PANEL):
            end = min(start + _PANEL, rank)
            for column in range(start, end):
                vectors[column:, column] = _reflection(left[column:, column], int(exponents[column]))
                vector, rest = vectors[column:, column : column + 1], left[column:, column:end]
                rest -= vector @ (vector.T @ rest) * (2 / vector.square().sum())
            panel, rest = vectors[start:, start:end], left[start:, end:]
            gram = panel.T @ panel
            triangle = gram.tril(-1) + torch.diag(gram.diagonal() / 2)
            rest -= panel @ torch.linalg.solve_triangular(triangle, panel.T @ rest, upper=False)
        steps = vectors.numpy() * np.ldexp(1.0, exponents)
        return Reflections(length, exponents, np.rint(steps.T[_below(length, rank)]).astype(np.int32))


def column_sizes(length: int, rank: int) -> NDArray[np.int64]:
    """How many numbers each column of a Q [length, rank] has."""
    return length - 1 - np.arange(rank)


def _below(length: int, rank: int) -> NDArray[np.bool_]:
    """Which places of a transposed matrix [rank, length] lie below the diagonal."""
    return np.arange(length) > np.arange(rank)[:, None]


def _column_classes(length: int, exponents: NDArray[np.int32]) -> NDArray[np.uint8]:
    octaves = np.array([int(size).bit_length() for size in column_sizes(length, len(exponents))], np.int64)
    classes: NDArray[np.uint8] = np.clip(2 * exponents - octaves + 8, 0, 31).astype(np.uint8)
    return classes


def _reflection(target: torch.Tensor, exponent: int) -> torch.Tensor:
    """The v [n] that takes the first unit vector to the line of `target`, rounded to steps of 2^-exponent."""
    direction = target / target.norm().clamp(min=1e-30)
    first = direction[0] + (1.0 if direction[0] >= 0 else -1.0)
    vector: torch.Tensor = torch.round(direction / first * 2**exponent) / 2**exponent
    vector[0] = 1.0
    return vector


def _product(left: Reals, right: Reals) -> Reals:
    """The product of two matrices of integers; exact, as no sum here reaches 2^53."""
    product: Reals = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return product


def _shares(vectors: Reals, columns: Reals) -> Reals:
    """S [panel, n], in units of 2^-_BITS, such that H_1 ... H_panel columns = columns - vectors S.

    S solves (D / 2 + U) S = vectors' columns, with D and U the diagonal of vectors' vectors and what is above (Puglisi 1992).
    """
    gram = np.ldexp(_product(vectors.T, vectors), -2 * MAX_EXPONENT)
    shares: Reals = np.ldexp(_product(vectors.T, columns), -MAX_EXPONENT)
    for row in reversed(range(len(shares))):
        for later in range(row + 1, len(shares)):
            shares[row] -= gram[row, later] * shares[later]
        shares[row] *= 2.0 / gram[row, row]
    shares = np.rint(shares)
    if not np.abs(shares).max(initial=0.0) < np.ldexp(_LARGEST, _BITS):
        raise FormatError("a transform's reflections are too large for exact arithmetic")
    return shares
