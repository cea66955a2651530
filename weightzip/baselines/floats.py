"""Arrays of floats in 4 or 2 bytes each: how every baseline stores scales, codebooks, factors and small tensors."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16")

# The magnitudes that keep full relative precision when cast; beyond them lies infinity or a loss of digits.
_NORMAL_RANGE = {"float32": (0.0, np.inf), "float16": (2.0**-14, 65504.0), "bfloat16": (2.0**-126, 3.3895e38)}
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def float_bytes(values: Weights, precision: Precision) -> bytes:
    """A byte for the precision used, then the values, little-endian, all first bytes before all second bytes and so on.

    The byte planes let zstandard see that the exponents repeat. An array whose largest magnitude lies outside the
    normal range of `precision` is kept in float32: large values stay finite and small ones keep their digits.
    An empty array takes no bytes.
    """
    if values.size == 0:
        return b""
    used = _precision_used(values, precision)
    return bytes([PRECISIONS.index(used)]) + byte_planes(_to_words(values.ravel(), used))


def as_stored(values: Weights, precision: Precision) -> Weights:
    """The values as a decoder will see them, so that an encoder can measure its error against the truth."""
    used = _precision_used(values, precision)
    return from_words(_to_words(values.ravel(), used).tobytes(), used).reshape(values.shape)


def byte_planes(words: NDArray[np.generic]) -> bytes:
    """The bytes of 1-D `words`, plane by plane: the first byte of every word, then the second of every word, ..."""
    planes: NDArray[np.uint8] = words.view(np.uint8).reshape(len(words), words.itemsize).T
    return planes.tobytes()


def from_byte_planes(planes: bytes, itemsize: int) -> bytes:
    """Undo `byte_planes` for words of `itemsize` bytes."""
    words: NDArray[np.uint8] = np.frombuffer(planes, np.uint8).reshape(itemsize, -1).T
    return words.tobytes()


def from_words(words: bytes, precision: Precision) -> Weights:
    """Little-endian words of `precision` as float32, in memory of their own."""
    if precision == "bfloat16":  # numpy has none: it is the upper half of a float32
        return (np.frombuffer(words, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(words, "<f2" if precision == "float16" else "<f4").astype(np.float32)


def itemsize(precision: Precision) -> int:
    """Bytes per value."""
    return 4 if precision == "float32" else 2


def to_float32(values: NDArray[np.float64]) -> Weights:
    """Round to float32, saturating: arithmetic on finite float32 weights must not end in infinities."""
    return np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)


def _precision_used(values: Weights, precision: Precision) -> Precision:
    largest = float(np.abs(values).max(initial=0.0))
    low, high = _NORMAL_RANGE[precision]
    return precision if largest == 0.0 or low <= largest <= high else "float32"


def _to_words(values: Weights, precision: Precision) -> NDArray[np.generic]:
    if precision == "bfloat16":  # round half to even, as hardware and torch do
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return values.astype("<f2" if precision == "float16" else "<f4")
