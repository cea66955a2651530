"""Approaching a limit from below by interpolation, where what is measured is smooth."""

from __future__ import annotations

import math
from collections.abc import Callable

_CLOSE = 0.997  # of the limit: near enough
_FARTHEST = 4.0  # octaves that one guess may go beyond all settings tried


def approach_limit(
    measure: Callable[[float], float], limit: float, *, start: float, safe: float, bold: float, probes: int
) -> float | None:
    """The setting whose measure is the largest at most `limit`, of at most `probes` tried; None if not even `safe` is.

    measure: falls from `bold` to `safe`, and about as the logarithm of the setting does.

    >>> round(approach_limit(lambda step: 1000 / step, 125.0, start=1.0, safe=64.0, bold=0.01, probes=12), 1)
    8.0
    """
    found: tuple[float, float] | None = None  # measure, setting
    passing, failing = math.log2(safe), math.log2(bold)
    points: list[tuple[float, float]] = []
    place = math.log2(start)
    for _ in range(probes):
        value = measure(math.pow(2.0, place))
        points.append((place, value))
        if value <= limit:
            found, passing = max(found or (0.0, 0.0), (value, place)), place
            if value >= _CLOSE * limit:
                break
        else:
            failing = place
        place = _next(points, limit, passing, failing)
    if found is None:
        return safe if measure(safe) <= limit else None
    return math.pow(2.0, found[1])


def _next(points: list[tuple[float, float]], limit: float, passing: float, failing: float) -> float:
    """Where to look next: where a line through the last two points meets the limit, if that lies between the ends."""
    middle = (passing + failing) / 2
    if len(points) == 1:
        return points[0][0] + math.copysign(1.0, middle - points[0][0])
    (first, before), (second, after) = points[-2:]
    aim = limit * (1 + _CLOSE) / 2
    guess = second + (aim - after) * (second - first) / (after - before) if after != before else middle
    guess = min(max(guess, second - _FARTHEST), second + _FARTHEST)
    low, high = sorted((passing, failing))
    return guess if low < guess < high else middle
