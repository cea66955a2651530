"""Bisection on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Callable


def bisect_log(passes: Callable[[float], bool], *, safe: float, bold: float, probes: int) -> float | None:
    """The setting nearest to `bold` that passes, found in at most `probes` calls; None if not even `safe` does.

    Settings are positive; what passes is taken to reach from `safe` to some point towards `bold`.

    >>> bisect_log(lambda step: step <= 2.0, safe=0.5, bold=8.0, probes=4)
    2.0
    >>> bisect_log(lambda step: False, safe=0.5, bold=8.0, probes=4) is None
    True
    """
    if not passes(safe):
        return None
    low, high, found = math.log2(safe), math.log2(bold), safe
    for _ in range(probes - 1):
        middle = (low + high) / 2
        setting = math.pow(2.0, middle)
        if passes(setting):
            low, found = middle, setting
        else:
            high = middle
    return found
