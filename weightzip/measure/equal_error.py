"""Two codecs at the same error: searching the setting of each, without knowing what it does."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

_COARSEST, _FINEST = 2.0**8, 2.0**-24
_TOLERANCE = 0.01  # of the error
_PROBES = 24
_NO_STEP = 1e-4  # octaves between settings that no codec tells apart


def decibels(relative_mse: float) -> float:
    """Signal-to-noise ratio in dB; infinite where there is no error.

    >>> decibels(0.01), decibels(0.0)
    (20.0, inf)
    """
    return -10 * math.log10(relative_mse) if relative_mse > 0 else math.inf


def nearest_integer(snr: Callable[[int], float], wanted: float, *, low: int, high: int) -> int:
    """The integer from `low` to `high` at which `snr`, which falls, is nearest to `wanted`; `snr` is asked once for each.

    >>> nearest_integer(lambda qp: -3.0 * qp, 13.0, low=-60, high=0)
    -4
    """
    found: dict[int, float] = {}

    def distance(setting: int) -> float:
        if setting not in found:
            found[setting] = snr(setting)
        return abs(found[setting] - wanted)

    while high - low > 1:
        middle = (low + high) // 2
        distance(middle)
        low, high = (middle, high) if found[middle] >= wanted else (low, middle)
    return min((low, high), key=distance)


def matching_step(relative_mse: Callable[[float], float], wanted: float) -> float:
    """The step size whose error, which grows with it, is within a hundredth of `wanted`; or the nearest that was found.

    Newton's method on logarithms, where a quantiser's error is nearly a straight line (Bennett 1948: step squared over 12,
    which is also where it starts); bisection where that line leads out of what is known to hold the solution.

    >>> step = matching_step(lambda step: min(step**2 / 12, 0.9), 0.03)
    >>> abs(step - 0.6) < 1e-3
    True
    """
    low, high = math.log2(_FINEST), math.log2(_COARSEST)
    wanted = max(wanted, sys.float_info.min)
    x = min(max(math.log2(12 * wanted) / 2, low), high)
    best, nearest = x, math.inf
    for _ in range(_PROBES):
        error = relative_mse(math.pow(2.0, x))
        off = math.log2(error / wanted) if error > 0 else -math.inf
        if abs(off) < nearest:
            best, nearest = x, abs(off)
        low, high = (x, high) if off < 0 else (low, x)
        if nearest <= math.log2(1 + _TOLERANCE) or high - low < _NO_STEP:
            break
        x = x - off / 2 if low < x - off / 2 < high else (low + high) / 2
    return math.pow(2.0, best)
