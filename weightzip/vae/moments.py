"""Second moments of vectors, and what a transform of them would save: estimates from spectra alone, no vector is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.vae.gaussian import DISTORTION, Variances, cost
from weightzip.vae.linear import LinearFit, column_bits, cosine_decoder, fit_linear

_SPREAD = 5  # quantiles of the vectors' own scales
_BEGINNING = 512  # longer axes are judged by their beginning
_MOST_POWER = 1e6  # beyond it, what is told by chance stays the same
_LEAST_BITS = 0.25  # of a learned basis, times its length squared
_ROUNDING = 1e-5  # of a moment taken in float32
Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Of vectors, each divided by the root of its own variance + DISTORTION, all in squared fine steps.

    matrix: [length, length]; spread: quantiles of (own variance + DISTORTION) / DISTORTION; num_vectors: there are;
    seen: of which the moments were taken.
    """

    matrix: Reals
    spread: Reals
    num_vectors: int
    seen: int

    @property
    def length(self) -> int:
        """Of the vectors."""
        return len(self.matrix)

    @cached_property
    def plain(self) -> float:
        """Bits of all vectors as they are."""
        return self.bits(np.diag(self.matrix))

    @cached_property
    def cosine(self) -> Reals:
        """Variances [length or less] after the cosine transform of the vectors' beginnings."""
        size = min(self.length, _BEGINNING)
        basis = torch.from_numpy(cosine_decoder(size).real).float()
        turned = torch.from_numpy(self.matrix[:size, :size]).float() @ basis
        spectrum: Reals = (turned * basis).sum(dim=0).clamp(min=0).double().numpy()
        return spectrum

    @cached_property
    def learned(self) -> Reals | None:
        """Variances [length] after the learned transform, or None where that can hardly pay."""
        if 2 * self.num_vectors < self.length or self.most_saved < _LEAST_BITS * self.length**2:
            return None
        spectrum: Reals = torch.linalg.eigvalsh(torch.from_numpy(self.matrix)).clamp(min=0).numpy()
        return spectrum

    @cached_property
    def most_saved(self) -> float:
        """Bits that about no transform saves more than: what the vectors' values tell about each other."""
        size = min(self.length, _BEGINNING)
        matrix = self.spread[_SPREAD // 2] * self.matrix[:size, :size]
        floor = 1 + _ROUNDING * float(np.trace(matrix)) / size  # what float32 moments are off by must not make it indefinite
        triangle = torch.linalg.cholesky(torch.from_numpy(matrix + floor * np.eye(size)))
        alone = 0.5 * float(np.log2(1 + np.diag(matrix)).mean())
        together = float(triangle.diagonal().log2().mean())
        chance = _told_by_chance(4.0**alone - 1, size / self.seen)
        return (alone - together - chance) * self.length * self.num_vectors

    @property
    def cosine_gain(self) -> float:
        """Bits that the cosine transform saves."""
        begun = len(self.cosine)
        return (self.bits(np.diag(self.matrix)[:begun]) - self.bits(self.cosine)) * (self.length / begun)

    @property
    def learned_gain(self) -> float:
        """Bits that a learned transform saves, its basis paid for."""
        return 0.0 if self.learned is None else self.plain - self.bits(self.learned) - self.basis_bits(self.learned)

    def bits(self, spectrum: Reals) -> float:
        """Of all vectors, given the variances of what they are coded as; distortion included, at its price."""
        return float(cost(self.spread[:, None] * spectrum).mean(axis=0).sum()) * self.num_vectors

    def basis_bits(self, spectrum: Reals) -> float:
        """Of a learned basis; and what fitting it to few of the vectors promises too much."""
        optimism = spectrum.size**2 / (4 * math.log(2)) * (self.num_vectors / self.seen - 1)
        variances = np.sort(spectrum)[::-1] * (self.spread.mean() * DISTORTION)
        return float(column_bits(variances, self.num_vectors, DISTORTION).sum()) + optimism

    def fit(self) -> LinearFit:
        """The closed-form fit, its variances those of the vectors themselves."""
        return fit_linear(self.matrix * (float(self.spread.mean()) * DISTORTION))

    def folded(self, outer: int, inner: int) -> tuple[Moments, Moments]:
        """Of vectors cut into [outer, inner], the moments along each of the two axes."""
        blocks = self.matrix.reshape(outer, inner, outer, inner)
        along_outer, along_inner = np.einsum("iaja->ij", blocks) / inner, np.einsum("iaib->ab", blocks) / outer
        return (
            Moments(along_outer, self.spread, self.num_vectors * inner, self.seen * inner),
            Moments(along_inner, self.spread, self.num_vectors * outer, self.seen * outer),
        )


def moments_along(values: NDArray[np.float32], variances: Variances, axis: int, most: int) -> Moments:
    """Moments of the vectors along an axis of values [a, b, c] with these variances, of about `most` vectors at most.

    An axis that has one variance has it everywhere.
    """
    length = values.shape[axis]
    num_vectors = values.size // length
    chosen = _sample(values.shape, axis, most)
    sample = torch.from_numpy(values if chosen is None else values.take(chosen[1], axis=chosen[0]))
    factors = list(variances)
    if chosen is not None and factors[chosen[0]].size > 1:
        factors[chosen[0]] = factors[chosen[0]][chosen[1]]
    left, right = (factors[other] for other in range(3) if other != axis)
    own = np.outer(left, right) * factors[axis].mean() + DISTORTION
    scale = torch.from_numpy(1 / np.sqrt(own)).float().unsqueeze(axis)
    vectors = (sample * scale).movedim(axis, 0).reshape(length, -1)  # [length, n]
    matrix = (vectors @ vectors.T).double().numpy() / vectors.shape[1]
    spread = np.quantile(own, (np.arange(_SPREAD) + 0.5) / _SPREAD) / DISTORTION
    return Moments(matrix, spread, num_vectors, vectors.shape[1])


def _told_by_chance(power: float, aspect: float) -> float:
    """Bits per value that independent values seem to tell about each other, seen in 1 / aspect vectors per dimension.

    1/2 log2(1 + power) less half the mean of log2(1 + power * eigenvalue), for the eigenvalues of their second moments
    (Tulino & Verdu 2004, example 2.14).
    """
    power = min(power, _MOST_POWER)
    if power <= 0:
        return 0.0
    high, low = (math.sqrt(power * (1 + sign * math.sqrt(aspect)) ** 2 + 1) for sign in (1, -1))
    share = (high - low) ** 2 / 4
    seen = (
        math.log2(1 + power - share) + math.log2(1 + power * aspect - share) / aspect - share / (power * aspect * math.log(2))
    )
    return 0.5 * (math.log2(1 + power) - seen)


def _sample(shape: Sequence[int], axis: int, most: int) -> tuple[int, NDArray[np.int64]] | None:
    """An axis and some of its places, so that about `most` vectors along another axis are left; None for all of them."""
    other = max((other for other in range(3) if other != axis), key=lambda other: shape[other])
    kept = math.ceil(shape[other] * most / (math.prod(shape) // shape[axis]))
    return None if kept >= shape[other] else (other, np.sort(np.random.default_rng(0).permutation(shape[other])[:kept]))
