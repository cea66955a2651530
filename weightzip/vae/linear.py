"""Linear-Gaussian VAEs in closed form, with a decoder that is applied in exact integers.

For a linear decoder and Gaussian everything, the ELBO has its optimum in closed form: probabilistic principal component
analysis (Tipping & Bishop 1999, section 3.2; Lucas et al. 2019 show that the linear VAE has no other one). The decoder's
columns are eigenvectors of the second moments E[x x'], the noise variance is the distortion D of the quantiser, and a latent
of variance v takes 1/2 log2(1 + v / D) bits. Noise-perturbed copies need not be drawn: noise of variance s^2 adds s^2 to the
diagonal of the expected moments, which moves no eigenvector.

Dimensions whose bits do not pay collapse: their column is not stored, and they cost the distortion they leave.

How precisely a column is stored: an error of variance e in each of its numbers puts v e of its latent's variance into every
weaker latent. With n vectors in the data that costs n v e / (2 ln 2 (D + v_j)) bits in latent j, and halving the error's size
costs a bit per number, so the best error is e = h / (n v), h being the harmonic mean of D + v_j: columns contribute alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.errors import FormatError
from weightzip.threads import limited_threads
from weightzip.vae.gaussian import PRICE, cost
from weightzip.vae.reflections import MAX_EXPONENT, Reflections, column_sizes

_BASIS_BITS = 11  # of a fraction in a basis: what it rounds off is far below what a reflection's numbers do
_EXACT_SINGLE, _EXACT_DOUBLE = 2.0**24, 2.0**53
_NUMBER_COST = 1.0  # bits of a number beyond those of a Gaussian channel: what its error costs, and rounding
_MUCH = 1 << 14  # numbers of a basis
_BATCH = 1 << 20  # numbers converted at a time, which bounds memory
Reals = NDArray[np.float64]
Float = TypeVar("Float", np.float32, np.float64)
Array = TypeVar("Array", NDArray[Any], torch.Tensor)


@dataclass(frozen=True, eq=False)
class LinearDecoder:
    """basis: integers [length, rank] in units of 2^-shift, orthonormal but for rounding; reflections: what is stored of it."""

    basis: NDArray[np.signedinteger]
    shift: int = _BASIS_BITS
    reflections: Reflections | None = field(default=None, repr=False)

    @staticmethod
    def of(reflections: Reflections) -> LinearDecoder:
        """The decoder whose basis the reflections make. Raises FormatError where they are out of range."""
        return LinearDecoder(reflections.columns(_BASIS_BITS).astype(np.int16), reflections=reflections)

    @property
    def length(self) -> int:
        """Of the vectors that it decodes to."""
        return int(self.basis.shape[0])

    @property
    def rank(self) -> int:
        """Number of latents."""
        return int(self.basis.shape[1])

    @property
    def real(self) -> Reals:
        """The basis itself, [length, rank]. Not kept, as it is four times as large as the integers."""
        return np.ldexp(self.basis.astype(np.float64), -self.shift)

    @cached_property
    def growth(self) -> float:
        """No decoded integer, and no sum on the way to it, is larger than this times the largest symbol."""
        return float(np.abs(self.basis).sum(axis=1, dtype=np.float64).max(initial=0.0))

    @property
    def encoder(self) -> torch.Tensor:
        """Least squares, float32 [rank, length]: what takes vectors to their latents; the same with any number of threads."""
        basis = torch.from_numpy(self.real).float()
        with limited_threads(1):
            # One step of Newton's: the basis is so near to orthonormal that what is left is its rounding to the fourth power.
            encoder: torch.Tensor = 2 * basis.T - basis.T @ basis @ basis.T
        return encoder

    def encode(self, values: NDArray[Float], axis: int = -1) -> NDArray[Float]:
        """Latents of the vectors along an axis of values: the posterior's mean as its noise goes to zero."""
        vectors = torch.from_numpy(values)
        latents: NDArray[Float] = along(self.encoder.to(vectors.dtype), vectors, axis).numpy()
        return latents

    def decode(self, symbols: NDArray[Any], axis: int = -1, *, bound: float | None = None) -> NDArray[np.floating]:
        """Vectors in units of 2^-shift along an axis of integer symbols, themselves exact integers.

        bound: no symbol is larger; None has it looked up. Raises FormatError where the result would not be exact.
        """
        numbers = self._exact_type(self.growth * (largest(symbols) if bound is None else bound))
        if numbers == np.float64 and symbols.dtype == np.int32:
            numbers = self._exact_type(self._largest_sum(symbols, axis))
        matrix, vectors = self.basis.astype(numbers), symbols.astype(numbers)
        if numbers == np.float32 and axis == 1:  # in one product: numpy's threads meet after each
            return np.moveaxis(along(matrix, np.moveaxis(vectors, 1, 0), 0), 0, 1)
        if numbers == np.float32:
            return along(matrix, vectors, axis)
        return along(torch.from_numpy(matrix), torch.from_numpy(vectors), axis).numpy()

    def decode_rows(self, symbols: NDArray[np.int32], rows: slice, *, bound: float) -> NDArray[np.floating]:
        """Some rows of what `decode` gives along the first axis of symbols [rank, b, c], with little memory besides."""
        flat = symbols.reshape(self.rank, -1)
        part = LinearDecoder(self.basis[rows])
        decoded = np.empty((part.length, flat.shape[1]), part._exact_type(part.growth * bound))
        width = max(1, _BATCH // max(self.rank, 1))
        for start in range(0, flat.shape[1], width):
            decoded[:, start : start + width] = part.decode(flat[:, start : start + width], 0, bound=bound)
        return decoded.reshape(part.length, *symbols.shape[1:])

    def _largest_sum(self, symbols: NDArray[np.int32], axis: int) -> float:
        """What no sum of products is larger than, by the largest symbol of each latent: most are far smaller than the first."""
        others = tuple(other for other in range(symbols.ndim) if other != axis % symbols.ndim)
        most = np.maximum(symbols.max(axis=others, initial=0), -symbols.min(axis=others, initial=0)).astype(np.float64)
        return float((np.abs(self.basis).astype(np.float64) @ most).max(initial=0.0))

    def _exact_type(self, largest_sum: float) -> type[np.floating]:
        """The type to decode in, such that sums of products up to the largest are exact in whatever order they are added up.

        A short type is faster where there is much to do; it is numpy's, as torch may be set to round products further.
        Raises FormatError where there is none.
        """
        if self.basis.size >= _MUCH and largest_sum < _EXACT_SINGLE:
            return np.float32
        if largest_sum < _EXACT_DOUBLE:
            return np.float64
        raise FormatError("a transform's numbers are too large for exact arithmetic")


def along(matrix: Array, values: Array, axis: int) -> Array:
    """matrix [m, n] applied to the vectors [n] along the first or one of the last two axes of values."""
    result: Array
    if axis == 0:
        result = (matrix @ values.reshape(values.shape[0], -1)).reshape(matrix.shape[0], *values.shape[1:])
    elif axis % values.ndim == values.ndim - 1:
        result = (values.reshape(-1, values.shape[-1]) @ matrix.T).reshape(*values.shape[:-1], matrix.shape[0])
    else:
        result = matrix @ values
    return result


def largest(symbols: NDArray[Any]) -> float:
    """The largest magnitude among integers."""
    return float(max(int(symbols.max(initial=0)), -int(symbols.min(initial=0))))


def cosine_decoder(length: int) -> LinearDecoder:
    """The discrete cosine transform (DCT-II, orthonormal), to which the KLT of smooth vectors tends (Ahmed et al. 1974).

    Its integers are the same on every machine: none of the numbers rounded is as close to a half as cosines can be off.
    """
    # Of one turn, so that the cosine's argument is small and its error stays near 1e-16.
    cosines = np.cos(np.arange(4 * length) * (math.pi / (2 * length)))
    numbers = np.rint(cosines * math.sqrt(2 / length) * 2**_BASIS_BITS).astype(np.int16)
    place, frequency = np.arange(length, dtype=np.int32)[:, None], np.arange(length, dtype=np.int32)
    basis = numbers[(2 * place + 1) * frequency % (4 * length)]
    basis[:, 0] = round(math.sqrt(1 / length) * 2**_BASIS_BITS)
    return LinearDecoder(basis)


@dataclass(frozen=True, eq=False)
class LinearFit:
    """directions: [length, length], orthonormal columns; variances: [length] of the latents along them, falling."""

    directions: Reals
    variances: Reals

    def quantised(self, num_vectors: int, distortion: float) -> LinearDecoder:
        """The decoder as it is stored, for so many vectors whose latents are quantised at this distortion."""
        rank = int(np.count_nonzero(self._pays(num_vectors, distortion)))
        room = harmonic_mean(self.variances + distortion)
        # What leaks into dimensions that are left out is not coded: it counts double there.
        coarser = 2 if rank == len(self.variances) else 1
        precision = 0.5 * np.log2(np.maximum(num_vectors * self.variances[:rank] / (12 * coarser * room), 1.0))
        exponents = np.clip(np.rint(precision), 0, MAX_EXPONENT).astype(np.int32)
        return LinearDecoder.of(Reflections.of(self.directions[:, :rank], exponents))

    def _pays(self, num_vectors: int, distortion: float) -> NDArray[np.bool_]:
        """Whether a latent saves more than it and its column cost; the first ones do, as variances fall."""
        ratio = self.variances / distortion
        column = column_bits(self.variances, num_vectors, distortion) / max(num_vectors, 1)
        return np.minimum.accumulate(PRICE * ratio > cost(ratio) + column)


def fit_linear(moments: Reals) -> LinearFit:
    """The closed-form fit to second moments [length, length]; the largest entry of a direction is positive."""
    variances, directions = torch.linalg.eigh(torch.from_numpy(moments))
    variances, directions = variances.flip(0).clamp(min=0).numpy(), directions.flip(1).numpy()
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return LinearFit(directions * np.where(largest < 0, -1.0, 1.0), variances)


def column_bits(variances: Reals, num_vectors: int, distortion: float) -> Reals:
    """About the bits that each stored column takes, given the variances of all latents: see the module's docstring."""
    size = variances.size
    ratio = num_vectors * variances / (max(size, 1) * harmonic_mean(variances + distortion))
    bits: Reals = column_sizes(size, size) * 0.5 * np.log2(1 + 4.0**_NUMBER_COST * ratio)
    return bits


def harmonic_mean(values: Reals) -> float:
    """Of positive numbers; 1 where there are none."""
    return float(1 / np.mean(1 / values)) if values.size else 1.0
