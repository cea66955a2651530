"""What is told of a block: 32 figures of its 64 elements and of what surrounds it, most of them logarithms or correlations.

    tensor --Elements--> deviations, foretold --features--> [blocks, 32]

A fault is seen by what the block no longer has in common with its tensor. Size and shape of the distribution give away zeros
and foreign scales; the largest and the smallest element flipped exponents; rows, columns and neighbours, whose strongest
directions foretell a part of every trained matrix, give away signs that were flipped and blocks that come from elsewhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightzip.scan.elements import BEND, Elements, bend, in_blocks
from weightzip.scan.ranges import SIZE

FIGURES = {  # which columns tell of what
    "distribution": slice(0, 9),
    "extremes": slice(9, 12),
    "foretelling": slice(12, 16),
    "surroundings": slice(16, 21),
    "sequence": slice(21, 32),
}
_LEAST = 1e-3  # added to mean squares, in squared deviations, before a logarithm is taken
_FEW_ROWS = 8  # with fewer, a column has no scale of its own
_SHRINK = 0.05  # of all elements' variance in that of a column
_TINIEST = 1e-45
_PER_ZERO = 0.001  # relative to the least deviation there is: where no other block has a zero, a single one is no fault
_OCTAVES = 3.0  # three powers of two nearer to zero count as one deviation


def features(tensor: Tensor) -> Tensor:
    """Of every block of a tensor that is not empty: [blocks, 32], finite, as `FIGURES` says."""
    elements = Elements.of(tensor)
    inner = elements.bent.clamp(-BEND, BEND)  # [rows, columns]
    left = inner - elements.foretold
    blocks, foretold, left_over = in_blocks(inner), in_blocks(elements.foretold), in_blocks(left)
    columns = in_blocks(_column_variances(left).expand_as(left))
    size = _log(blocks.square().mean(1))
    rows_apart = max(1, round(inner.shape[1] / SIZE))
    columns_apart = [
        *_distribution(blocks, in_blocks(elements.bent), size),
        *_extremes(in_blocks(elements.absolute)),
        *_foretelling(blocks, foretold, left_over),
        *_surroundings(left_over, columns, size, rows_apart),
        *_sequence(blocks, left_over, size, rows_apart),
    ]
    return torch.stack(columns_apart, dim=1)


def _distribution(blocks: Tensor, bent: Tensor, size: Tensor) -> list[Tensor]:
    """Location, scale and shape of each block [n, SIZE]; size: the logarithm of its mean square."""
    largest = bent.abs().topk(2, dim=1)[0]  # [n, 2]
    highest = (largest[:, 0] + 0.01).log()
    return [
        blocks.mean(1),
        size,
        _log(bent.square().mean(1)),
        (blocks.abs().mean(1) + _LEAST).log() - 0.5 * size,
        (blocks.pow(4).mean(1) + 1e-5).log() - 2 * size,
        (blocks.abs() + 0.01).log().mean(1) - 0.5 * size,
        highest,
        highest - 0.5 * size,
        highest - (largest[:, 1] + 0.01).log(),
    ]


def _extremes(absolute: Tensor) -> list[Tensor]:
    """How near to zero the elements come, and how many are zero: an exponent may have been flipped downwards."""
    is_zero = absolute == 0
    nearest = absolute.masked_fill(is_zero, 1.0).clamp(_TINIEST, 1.0).topk(2, dim=1, largest=False)[0].log2()  # [n, 2]
    return [
        bend(-nearest[:, 0] / _OCTAVES),
        bend((nearest[:, 1] - nearest[:, 0]) / _OCTAVES),
        _PER_ZERO * torch.log1p(is_zero.float().sum(1)),
    ]


def _foretelling(blocks: Tensor, foretold: Tensor, left_over: Tensor) -> list[Tensor]:
    """How far each block is what its rows and columns say."""
    strength, agreement = foretold.square().sum(1), (blocks * foretold).sum(1)
    noise = (left_over.square().mean() + _LEAST).sqrt()
    return [
        (agreement - strength) / (noise * (strength + 1).sqrt()),
        agreement / ((strength * blocks.square().sum(1)).sqrt() + 1),
        _log(strength / SIZE),
        _log(left_over.square().mean(1)),
    ]


def _surroundings(left_over: Tensor, columns: Tensor, size: Tensor, rows_apart: int) -> list[Tensor]:
    """What is not foretold, against the variances of its columns, and against the blocks around."""
    squares = left_over.square()
    by_column = _log((squares / columns).mean(1))
    return [
        by_column,
        ((squares + 0.01).log() - columns.log()).mean(1),
        ((squares / columns).amax(1) + 0.01).log(),
        size - _around(size, rows_apart),
        by_column - _around(by_column, rows_apart),
    ]


def _sequence(blocks: Tensor, left_over: Tensor, size: Tensor, rows_apart: int) -> list[Tensor]:
    """How each element follows from the ones before it, and how much of a block is in slow changes (Haar 1910)."""
    energy = blocks.square().sum(1) + 1
    slow = []
    sums = blocks
    while sums.shape[1] > 2:
        sums = (sums[:, ::2] + sums[:, 1::2]) / math.sqrt(2)
        slow.append(_log(sums.square().mean(1)) - size)
    after_two = _log(_two_step_errors(blocks))
    return [
        *((blocks[:, lag:] * blocks[:, :-lag]).sum(1) / energy for lag in (1, 2)),
        (left_over[:, 1:] * left_over[:, :-1]).sum(1) / (left_over.square().sum(1) + 1),
        *slow,
        after_two,
        after_two - size,
        after_two - size - _around(after_two - size, rows_apart),
    ]


def _two_step_errors(blocks: Tensor) -> Tensor:
    """The mean square error of each element foretold from the two before it, by least squares within each block: [n].

    A sinusoid, as in the filters of an audio model, leaves none.
    """
    now, one, two = blocks[:, 2:], blocks[:, 1:-1], blocks[:, :-2]
    a, b, c = one.square().sum(1) + _LEAST, two.square().sum(1) + _LEAST, (one * two).sum(1)
    d, e = (now * one).sum(1), (now * two).sum(1)
    determinant = (a * b - c * c).clamp_min(1e-6)
    first, second = (d * b - e * c) / determinant, (e * a - d * c) / determinant
    return (now - first[:, None] * one - second[:, None] * two).square().mean(1)


def _column_variances(left: Tensor) -> Tensor:
    """Of each column of [rows, columns], drawn towards that of all: [1, columns]."""
    overall = left.square().mean() + _LEAST
    if left.shape[0] < _FEW_ROWS:
        return overall.expand(1, left.shape[1])
    return left.square().mean(0, keepdim=True) + _SHRINK * overall


def _around(figures: Tensor, rows_apart: int) -> Tensor:
    """The median of each block's neighbours, two on every side along the row and across rows; figures: [n]."""
    count = len(figures)
    numbers = torch.arange(count)
    found = []
    for step in sorted({1, 2, rows_apart, 2 * rows_apart}):
        for others in (numbers - step, numbers + step):
            there = (others >= 0) & (others < count)
            found.append(torch.where(there, figures[others.clamp(0, count - 1)], math.nan))
    middle = torch.stack(found).nanmedian(0)[0]
    return torch.where(middle.isnan(), figures.median(), middle)


def _log(mean_squares: Tensor) -> Tensor:
    return (mean_squares + _LEAST).log()
