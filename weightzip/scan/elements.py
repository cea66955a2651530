"""A tensor's elements made comparable: divided by the tensor's own scale, and no number so large that it drowns all others.

elements --location, scale--> deviations --bend--> within 4 as they are, beyond that logarithmic
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.scan.ranges import SIZE, as_matrix

BEND = 4.0  # deviations; a Gaussian tensor of a million weights has a few dozen beyond
_GAUSSIAN = 1.4826  # the deviation of a Gaussian by its median absolute deviation
_TRIMMED = 0.98  # share of the elements that a root mean square is taken of
_SAMPLE = 100_000  # elements that tell a quantile well enough
_STANDS_FOR_NONE = 1e40  # in place of what is not finite, which no weight is
_STRONGEST, _SHARE = 32, 8  # directions of a matrix: so many, and at most an eighth of all
_ITERATIONS = 4


@dataclass(frozen=True)
class Elements:
    """Of one tensor, seen as a matrix [rows, columns]; all float32.

    absolute: distance from zero in deviations, not bent. bent: deviations from the middle. foretold: what the strongest
    directions of the matrix make of them, where they are within BEND.
    """

    absolute: Tensor
    bent: Tensor
    foretold: Tensor

    @staticmethod
    def of(tensor: Tensor) -> Elements:
        """The elements of a tensor that is not empty."""
        flat = tensor.detach().reshape(-1).double()
        finite = torch.isfinite(flat)
        middle, scale = location_and_scale(flat[finite])
        filled = torch.where(finite, flat, _STANDS_FOR_NONE)
        shape = as_matrix(tensor.shape)
        bent = bend((filled - middle) / scale).float().view(shape)
        absolute = (filled.abs() / scale).float().view(shape)
        return Elements(absolute, bent, _foretold(bent.clamp(-BEND, BEND)))


def bend(deviations: Tensor) -> Tensor:
    """As they are within BEND, logarithmic beyond, without a jump or a kink.

    >>> bend(torch.tensor([-1.0, 4.0, 1e38])).round().tolist()
    [-1.0, 4.0, 348.0]
    """
    size = deviations.abs()
    return torch.where(size <= BEND, deviations, deviations.sign() * BEND * (1 + torch.log(size.clamp_min(BEND) / BEND)))


def location_and_scale(values: Tensor) -> tuple[Tensor, Tensor]:
    """Of finite numbers [n], told by their bulk: the median, and the deviation of a Gaussian of the same median deviation.

    Where more than half are the same, the trimmed root mean square stands in, then the median of those that differ, then one.
    """
    if not len(values):
        return values.new_zeros(()), values.new_ones(())
    middle = values.median()
    distance = (values - middle).abs()
    scale = _GAUSSIAN * distance.median()
    limit = torch.quantile(distance[:: max(1, len(distance) // _SAMPLE)], _TRIMMED)
    trimmed = distance[distance <= limit].square().mean().sqrt()
    if scale > 1e-3 * trimmed:
        return middle, scale
    different = distance[distance > 0]
    return middle, trimmed if trimmed > 0 else different.median() if len(different) else values.new_ones(())


def in_blocks(elements: Tensor) -> Tensor:
    """Any number of elements as [n, SIZE]; the last block is filled up by repeating its own elements.

    >>> in_blocks(torch.arange(66))[1].tolist()[:5]
    [64, 65, 64, 65, 64]
    """
    flat = elements.reshape(-1)
    missing = -len(flat) % SIZE
    if missing:
        last = flat[len(flat) // SIZE * SIZE :]
        flat = torch.cat([flat, last.repeat(math.ceil(missing / len(last)))[:missing]])
    return flat.view(-1, SIZE)


def _foretold(matrix: Tensor) -> Tensor:
    """The matrix [rows, columns] projected onto its strongest directions, found by subspace iteration (Halko et al. 2011).

    They are so few that a block can hardly foretell itself.
    """
    count = min(_STRONGEST, min(matrix.shape) // _SHARE)
    if not count:
        return torch.zeros_like(matrix)
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    start = torch.randn(tall.shape[1], count, generator=torch.Generator().manual_seed(0))
    directions: Tensor = torch.linalg.qr(start)[0]  # [shorter side, count]
    for _ in range(_ITERATIONS):
        directions = torch.linalg.qr(tall.T @ (tall @ directions))[0]
    projected: Tensor = (tall @ directions) @ directions.T
    return projected if tall is matrix else projected.T
