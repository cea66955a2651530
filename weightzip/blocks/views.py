"""Views: a tensor as an array of three axes, along each of which a transform and scales can work.

    filter  [O, I, taps...] --plain--> [O, I, T]           T: all taps
                            --rows---> [O, 1, I * T]
    matrix  [R, C]          --plain--> [R, 1, C]
                            --runs---> [R, C / L, L]       runs of L neighbours: pixels of a line, bins of a spectrum
                            --groups-> [R / L, L, C]       groups of rows: gates, heads
    vector  [n]             --plain--> [1, 1, n]

Every view is the same weights in the same order, so cutting and pasting copies nothing. Axes of size 1 vanish first: a 1x1
convolution is a matrix, and so is a depthwise one, [O, T]. Which views there are follows from the shape alone; a file stores
the number of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_SHORTEST, _LONGEST = 4, 128  # runs and groups; longer ones only where there are few of them
_FEW = (2, 3, 4)  # groups of so many gates, or of query, key and value
_LONGEST_ROW = 512
Kind = Literal["plain", "rows", "runs", "groups"]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class View:
    """kind: how the shape is cut; sizes: of the three axes."""

    kind: Kind
    sizes: tuple[int, int, int]


def possible_views(shape: Sequence[int]) -> list[View]:
    """All views of a shape, the plain one first; nothing but the shape decides.

    >>> [view.sizes for view in possible_views((16, 8, 3, 3))]
    [(16, 8, 9), (16, 1, 72)]
    >>> [view.sizes for view in possible_views((6, 10))]
    [(6, 1, 10), (6, 2, 5), (3, 2, 10), (2, 3, 10)]
    """
    sizes = [size for size in _natural(shape) if size != 1]
    if 0 in sizes:
        return [View("plain", (0, 0, 0))]
    if len(sizes) < 2:
        return [View("plain", (1, 1, math.prod(sizes)))]
    if len(sizes) == 3:
        outputs, inputs, taps = sizes
        rows = [View("rows", (outputs, 1, inputs * taps))] if inputs * taps <= _LONGEST_ROW else []
        return [View("plain", (outputs, inputs, taps)), *rows]
    rows_, columns = sizes
    runs = [View("runs", (rows_, columns // length, length)) for length in _lengths(columns)]
    groups = [View("groups", (rows_ // length, length, columns)) for length in _lengths(rows_)]
    return [View("plain", (rows_, 1, columns)), *runs, *groups]


def cut(values: NDArray[Number], view: View) -> NDArray[Number]:
    """The values of a tensor as an array of the view's three axes; shares their memory where they lie in order."""
    return values.reshape(view.sizes)


def paste(array: NDArray[Number], shape: Sequence[int]) -> NDArray[Any]:
    """Inverse of `cut`, of any view."""
    return array.reshape(tuple(shape))


def _natural(shape: Sequence[int]) -> tuple[int, int, int]:
    """Outputs, inputs, taps."""
    outputs, inputs, *taps = (*shape, 1, 1)[: max(len(shape), 2)]
    return outputs, inputs, math.prod(taps)


def _lengths(size: int) -> list[int]:
    """Lengths of runs that divide an axis."""
    few = {size // parts for parts in _FEW if size % parts == 0}
    short = {length for length in range(_SHORTEST, min(_LONGEST, size - 1) + 1) if size % length == 0}
    return sorted(length for length in short | few if 1 < length < size)
