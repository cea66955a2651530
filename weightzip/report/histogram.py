"""Histograms of a tensor's weights before and after coding, as small pictures and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weightzip.results import Histogram, TensorShare

HEIGHT = 100  # of the picture, in its own units
_BIN = 4  # width of a bin, in the picture's units


@dataclass(frozen=True)
class HistogramPicture:
    """before, after: SVG paths within width x HEIGHT. zero: where 0 lies; None where it lies outside. words: the same, told."""

    before: str
    after: str
    width: int
    zero: float | None
    low: str
    high: str
    words: str


def picture(tensor: TensorShare) -> HistogramPicture | None:
    """The histogram of a tensor; None for tensors of no weights."""
    histogram = tensor.histogram
    if histogram is None or not histogram.before:
        return None
    most = max(*histogram.before, *histogram.after, 1)
    width, span = _BIN * len(histogram.before), histogram.high - histogram.low
    zero = -histogram.low / span * width if span > 0 else width / 2
    return HistogramPicture(
        before=_steps(histogram.before, most),
        after=_steps(histogram.after, most),
        width=width,
        zero=round(zero, 1) if 0 <= zero <= width else None,
        low=f"{histogram.low:.3g}",
        high=f"{histogram.high:.3g}",
        words=_words(tensor, histogram),
    )


def _steps(counts: Sequence[int], most: int) -> str:
    """A closed line over the bins. Heights grow with the logarithm, so that rare weights are seen beside common ones."""
    heights = [round(HEIGHT * math.log1p(count) / math.log1p(most)) for count in counts]
    steps, last = [f"M0 {HEIGHT}"], 0
    for height in heights:
        steps.append(f"v{last - height}h{_BIN}" if height != last else f"h{_BIN}")
        last = height
    return "".join([*steps, f"v{last}", "z"])


def _words(tensor: TensorShare, histogram: Histogram) -> str:
    low, high, bins = histogram.low, histogram.high, len(histogram.before)
    told = f"Before, {_filled(histogram.before)}; after, {_filled(histogram.after)}."
    return f"{tensor.name}: weights from {low:.3g} to {high:.3g} in {bins} bins. {told}"


def _filled(counts: Sequence[int]) -> str:
    share = 100 * max(counts) / max(1, sum(counts))
    return f"{sum(count > 0 for count in counts)} bins hold weights, the fullest {share:.0f}%"
