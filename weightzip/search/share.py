"""Sharing an error budget out among parts that differ in size and in how much they can bear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weightzip.search.bisect import bisect_log

Bears = Callable[[int, float], bool]


def tolerances(bears: Bears, num_parts: int, *, finest: float, coarsest: float, probes: int) -> list[float]:
    """For every part, about the coarsest setting that it alone may have: `bears(part, setting)` says whether it may."""

    def tolerance(part: int) -> float:
        setting = bisect_log(lambda setting: bears(part, setting), safe=finest, bold=coarsest, probes=probes)
        return finest if setting is None else setting

    return [tolerance(part) for part in range(num_parts)]


def balanced(tolerated: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Settings in the proportion at which the budget buys most: tolerance times the root of the part's share of all sizes.

    With damage in proportion to the squared setting, d_i = (s_i / t_i)^2, and -size_i log2(s_i) bits, the sum of bits is
    smallest for a given sum of damages where every part has damage in proportion to its size.

    >>> balanced([1.0, 1.0], [300, 100])
    [0.8660254037844386, 0.5]
    """
    total = sum(sizes)
    return [tolerance * math.sqrt(size / total) for tolerance, size in zip(tolerated, sizes, strict=True)]
