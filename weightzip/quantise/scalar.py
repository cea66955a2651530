"""Scalar quantisation in which every symbol is the best bargain between its squared error and its code length.

Rate-distortion-optimised quantisation as in video coding (Sullivan & Wiegand 1998): symbol q of value u (in steps) minimises
(u - q)^2 + tradeoff * bits(q), among the nearest integer and the next one towards zero, with bits from tables refitted in turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import code_lengths

TRADEOFF = 0.12  # squared steps per bit; the slope of the high-rate distortion, (2 ln 2) / 12
NUM_MAGNITUDES = 16  # magnitudes that have a price of their own; larger ones are simply rounded
_MAX_SYMBOL = 2**31 - 1
_PASSES = 3


def quantise(values: NDArray[np.float32], classes: NDArray[np.uint8], *, tradeoff: float = TRADEOFF) -> NDArray[np.int32]:
    """Symbols [n] for values [n] in units of the step size, given their scale classes [n].

    With tradeoff 0 this is rounding, and no value is off by more than half a step.
    """
    symbols = _nearest(values)
    if tradeoff == 0 or not values.size:
        return symbols
    for _ in range(_PASSES):
        bits = code_lengths(symbols, classes, num_magnitudes=NUM_MAGNITUDES)
        symbols = bargain(values, classes, bits, tradeoff)
    return symbols


def bargain(
    values: NDArray[np.floating], classes: NDArray[np.uint8], bits: NDArray[np.float32], tradeoff: float
) -> NDArray[np.int32]:
    """The cheaper of the nearest symbol and the next towards zero, at prices bits [num_classes, NUM_MAGNITUDES]."""
    nearest = _nearest(values)
    smaller = nearest - np.sign(nearest)
    more_error = np.square(values - smaller) - np.square(values - nearest)
    saved = _price(bits, classes, nearest) - _price(bits, classes, smaller)
    chosen: NDArray[np.int32] = np.where(more_error < tradeoff * saved, smaller, nearest)
    return chosen


def _nearest(values: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.clip(np.rint(values.astype(np.float64)), -_MAX_SYMBOL, _MAX_SYMBOL).astype(np.int32)


def _price(bits: NDArray[np.float32], classes: NDArray[np.uint8], symbols: NDArray[np.int32]) -> NDArray[np.float32]:
    priced: NDArray[np.float32] = bits[classes, np.minimum(np.abs(symbols), NUM_MAGNITUDES - 1)]
    return priced
