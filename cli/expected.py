"""How a dry run's answer is told to people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from weightzip.cli.describe import change, quality
from weightzip.summary import Summary

if TYPE_CHECKING:
    from weightzip.estimating import Estimate

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def expected(summary: Summary) -> Iterator[str]:
    """What a compression is expected to come to, in a few lines."""
    told = cast("Estimate", summary)
    figures = told["expected"]
    about = "usually at most " if figures["at_most"] else "" if figures["exact"] else "about "
    size = f"{figures['file_bytes']:,} bytes" if figures["exact"] else amount(figures["file_bytes"])
    yield f"would write {told['output']}: {about}{size} ({change(told['ratio'])})"
    yield f"  in about {duration(figures['seconds'])}, with about {amount(figures['memory_bytes'])} of memory"
    mse, largest = told["relative_mse"], told["max_abs_error"]
    if figures["exact"] or mse == 0:
        yield from quality(told)
    elif not math.isnan(mse):
        yield f"  relative mean square error about {mse:.3g}, largest error about {largest:.3g}"
    if told["note"]:
        yield f"  {told['note']}"


def amount(num_bytes: float) -> str:
    """Bytes to two or three digits.

    >>> amount(7_123_456), amount(950), amount(64_300)
    ('7.1 MB', '950 bytes', '64 kB')
    """
    power = min(int(math.log(max(num_bytes, 1), 1000)), len(_UNITS) - 1)
    value = num_bytes / 1000**power
    return f"{value:.1f} {_UNITS[power]}" if power and value < 10 else f"{value:.0f} {_UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(3.6), duration(100), duration(8000)
    ('4 s', '2 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
