"""How numbers are written on the page, always with their unit."""

from __future__ import annotations

import math
import re

from markupsafe import Markup, escape

from weightzip.metric import Metric
from weightzip.results import Point

_PREFIXES = ("bytes", "KB", "MB", "GB", "TB")
_KILO = 1000
_BREAKS = (".", "_", "/")


def ratio(value: float | None) -> str:
    """How many times smaller.

    >>> ratio(15.23), ratio(1.234), ratio(None)
    ('15.2x', '1.23x', '')
    """
    if value is None:
        return ""
    return f"{value:.2f}x" if value < 2 else f"{value:.1f}x"


def times_smaller(value: float) -> str:
    """A ratio as a change, whichever way the size went.

    >>> times_smaller(15.23), times_smaller(0.8), times_smaller(0.0)
    ('15.2x smaller', '1.25x larger', 'nothing to make smaller')
    """
    if value == 0:
        return "nothing to make smaller"
    return f"{ratio(value)} smaller" if value >= 1 else f"{ratio(1 / value)} larger"


def size(num_bytes: float) -> str:
    """Bytes, kilobytes (1000 bytes) or more, to two digits or three.

    >>> size(812), size(48_231), size(2_601_022), size(999_999)
    ('812 bytes', '48 KB', '2.6 MB', '1.0 MB')
    """
    value, prefix = float(num_bytes), 0
    while value >= 999.5 and prefix < len(_PREFIXES) - 1:
        value, prefix = value / _KILO, prefix + 1
    digits = 0 if prefix == 0 or value >= 9.95 else 1
    return f"{value:.{digits}f} {_PREFIXES[prefix]}"


def short(value: float | None) -> str:
    """A small figure to two digits; a dash where there is none.

    >>> short(0.01234)
    '0.012'
    """
    return "\u2013" if value is None or math.isnan(value) else f"{value:.2g}"


def breakable(name: str) -> Markup:
    """A tensor's name that may be broken after its dots and underscores.

    >>> breakable("a.b_<c>")
    Markup('a.<wbr>b_<wbr>&lt;c&gt;')
    """
    return Markup("").join(
        part + Markup("<wbr>") if part in _BREAKS else escape(part) for part in re.split(r"([._/])", name) if part
    )


def smaller(point: Point) -> str:
    """The size of a point.

    >>> smaller(Point("a", "b", 4823, 15.23, 97.95, 98.38, None, 0.01, 1.0))
    '15.2x smaller, 4,823 bytes'
    """
    return f"{times_smaller(point.ratio)}, {point.file_bytes:,} bytes"


def outcome(point: Point, metric: Metric) -> str:
    """The metric of a point, and how it changed.

    >>> outcome(Point("a", "b", 4823, 15.23, 97.95, 98.38, None, 0.01, 1.0), Metric("accuracy, %"))
    'accuracy 97.95% (-0.43)'
    """
    return f"{metric.name} {metric.format(point.value)} ({metric.format_change(point.value - point.original)})"
