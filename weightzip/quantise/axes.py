"""A scale class for every latent from a few small integers along the three axes of its array.

Latents are modelled as N(0, v[i, j, k]) with separable variances v[i, j, k] = a[i] b[j] c[k]. In units of the fine step and of
quarter octaves of the deviation, the class is a sum of integers: the same everywhere.

Finer classes than quarter octaves were measured to be worth less than they cost. A code is stored in units of one, two or four
quarter octaves, by how many latents it serves: a scale that is off by d costs them d^2 nats each, a bit of precision one bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.magnitudes import MAX_CLASSES
from weightzip.errors import FormatError
from weightzip.vae.gaussian import Variances, estimated_bits, separable_variances

CLASS_OF_ONE_STEP = 24  # the class of latents whose deviation is one fine step; at the bottom all symbols are zero
CLASSES_PER_OCTAVE = 4
_BITS_PER_CODE = 3.0
_LATENTS_FOR_UNIT_ONE, _LATENTS_FOR_UNIT_TWO = 96, 24  # per code, from which a finer unit pays
_MANY_CODES, _LATENTS_PER_CODE = 4096, 8  # an axis with more codes than that has so many latents to each
_MAX_CODE = 1 << 10
_BLOCK = 1 << 18  # classes computed at a time, which bounds memory
Shape = tuple[int, int, int]
Codes = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
_CONSTANT, _DIRECT, _DELTAS = 0, 1, 2  # how an axis's codes are stored


@dataclass(frozen=True)
class AxisScales:
    """codes: quarter octaves along each axis of an array [a, b, c]; they add up, from CLASS_OF_ONE_STEP, to the class.

    Along an axis as long as the array may be itself, they may be one number in memory, seen as many times (stride 0).
    """

    codes: Codes

    @property
    def shape(self) -> Shape:
        """Of the array whose scales these are."""
        first, second, third = self.codes
        return len(first), len(second), len(third)

    def classes(self) -> NDArray[np.uint8]:
        """The class of every latent, flat."""
        first, second, third = (np.broadcast_to(_narrow(_told_apart(codes)), codes.shape) for codes in self.codes)
        vectors = (first[:, None] + second[None, :] + np.int16(CLASS_OF_ONE_STEP)).reshape(-1)
        classes = np.empty((vectors.size, third.size), np.uint8)
        height = max(1, _BLOCK // max(third.size, 1))
        for start, left in product(range(0, vectors.size, height), range(0, third.size, _BLOCK)):
            rows, columns = slice(start, start + height), slice(left, left + _BLOCK)
            classes[rows, columns] = np.clip(vectors[rows, None] + third[columns], 0, MAX_CLASSES - 1)
        return classes.reshape(-1)


def fit_axis_scales(values: NDArray[np.float32]) -> AxisScales:
    """Scales for latents [a, b, c] in fine steps; an axis along which they do not pay gets none."""
    if not values.size:
        first, second, third = (np.zeros(size, np.int32) for size in values.shape)
        return AxisScales((first, second, third))
    few = _folded(values)
    level = float(np.mean(np.square(few, dtype=np.float32), dtype=np.float64))
    best = _cheapest(values.shape, separable_variances(few), level)
    return AxisScales(_codes(best, values.shape))


def usable_variances(values: NDArray[np.float32]) -> Variances:
    """Separable variances of latents [a, b, c] in fine steps; one for all of an axis that may not have scales of its own."""
    return separable_variances(_folded(values))


def _folded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Latents with their root mean square, [1], in place of an axis that may not have scales: they have the same variances."""
    long = tuple(axis for axis, size in enumerate(values.shape) if size > 1 and not may_vary(values.shape, axis))
    if not long:
        return values
    few: NDArray[np.float32] = np.sqrt(np.square(values).mean(axis=long, dtype=np.float64, keepdims=True)).astype(np.float32)
    return few


def _cheapest(shape: tuple[int, ...], variances: Variances, level: float) -> Variances:
    """Of all subsets of axes the one with the shortest code; variances are those fitted along all axes."""
    alike = math.prod(shape) / math.prod(variance.size for variance in variances)

    def subset(chosen: int) -> Variances:
        kept = [
            variance if chosen >> axis & 1 else np.full(len(variance), np.exp(np.log(np.maximum(variance, 1e-12)).mean()))
            for axis, variance in enumerate(variances)
        ]
        # Leaving an axis out leaves the mean power as it was.
        mean = float(np.prod([variance.mean() for variance in kept]))
        return kept[0] * (level / mean if mean > 0 else 1.0), kept[1], kept[2]

    def bits(chosen: int) -> float:
        codes: int = sum(size for axis, size in enumerate(shape) if chosen >> axis & 1)
        return _BITS_PER_CODE * codes + alike * estimated_bits(subset(chosen))

    varying = sum(1 << axis for axis in range(3) if may_vary(shape, axis))
    usable = [chosen for chosen in range(8) if not chosen & ~varying]
    return subset(min(usable, key=bits))


def _codes(variances: Variances, shape: tuple[int, ...]) -> Codes:
    """Variances as codes, each in multiples of its axis's unit; what rounding all of an axis loses goes to the next."""
    codes: dict[int, NDArray[np.int32]] = {}
    carried = 0.0
    # An axis that was folded comes first: its unit is coarse, and another has to make up for it.
    for axis in sorted((2, 1, 0), key=lambda axis: variances[axis].size == shape[axis]):
        exact = 0.5 * CLASSES_PER_OCTAVE * np.log2(np.maximum(variances[axis], 1e-12)) + carried
        unit = axis_unit(shape, axis)
        rounded = np.clip(np.rint(exact / unit), -_MAX_CODE, _MAX_CODE) * unit
        carried = float((exact - rounded).mean()) if exact.size else 0.0
        codes[axis] = np.broadcast_to(rounded.astype(np.int32), shape[axis])
    return codes[0], codes[1], codes[2]


def _told_apart(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """The codes of an axis, or [1] where they are one number in memory."""
    return codes[:1] if codes.strides == (0,) else codes


def _narrow(codes: NDArray[np.int32]) -> NDArray[np.int16]:
    return np.clip(codes, -_MAX_CODE, _MAX_CODE).astype(np.int16)


def may_vary(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an axis may have scales of its own: all of them together take far less memory than the latents."""
    return 1 < shape[axis] <= max(_MANY_CODES, math.prod(shape) // _LATENTS_PER_CODE)


def axis_unit(shape: tuple[int, ...], axis: int) -> int:
    """In how many quarter octaves an axis's codes are told, by how many latents share one."""
    latents = int(np.prod([size for other, size in enumerate(shape) if other != axis], dtype=np.int64))
    if latents >= _LATENTS_FOR_UNIT_ONE:
        return 1
    return 2 if latents >= _LATENTS_FOR_UNIT_TWO else 4


def axis_integers(scales: AxisScales) -> tuple[list[int], NDArray[np.int32]]:
    """Scales as small integers: how each axis is told and its level; and the codes of those axes that vary."""
    modes: list[int] = []
    told: list[NDArray[np.int32]] = []
    for axis, codes in enumerate(scales.codes):
        units = _told_apart(codes) // axis_unit(scales.shape, axis)
        level = round(float(units.mean())) if units.size else 0
        if not (units != level).any():
            modes += [_CONSTANT, level]
            continue
        direct, deltas = units - np.int32(level), np.diff(units, prepend=np.int32(level))
        mode = _DIRECT if _entropy(direct) <= _entropy(deltas) else _DELTAS
        modes += [mode, level]
        told.append(direct if mode == _DIRECT else deltas)
    return modes, np.concatenate(told) if told else np.zeros(0, np.int32)


def _entropy(values: NDArray[np.int32]) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def count_told(modes: list[int], shape: Shape) -> int:
    """How many codes follow for an array of this shape. Raises FormatError."""
    if len(modes) != 2 * len(shape) or any(mode not in (_CONSTANT, _DIRECT, _DELTAS) for mode in modes[::2]):
        raise FormatError("a tensor's scales are told in an unknown way")
    if any(mode != _CONSTANT and not may_vary(shape, axis) for axis, mode in enumerate(modes[::2])):
        raise FormatError("a tensor has more scales than its size allows")
    return sum(size for mode, size in zip(modes[::2], shape, strict=True) if mode != _CONSTANT)


def axis_scales(modes: list[int], told: NDArray[np.int32], shape: Shape) -> AxisScales:
    """Inverse of `axis_integers`, given as many codes as `count_told` says."""
    codes: list[NDArray[np.int32]] = []
    start = 0
    for axis, size in enumerate(shape):
        mode, level = modes[2 * axis], modes[2 * axis + 1]
        units = np.zeros(1, np.int32)  # stands for all of an axis, which may be as long as the array
        if mode != _CONSTANT:
            part = told[start : start + size]
            units = part.astype(np.int32) if mode == _DIRECT else np.cumsum(part, dtype=np.int32)
            start += size
        units += np.int32(np.clip(level, -_MAX_CODE, _MAX_CODE))
        codes.append(np.broadcast_to(np.clip(units, -_MAX_CODE, _MAX_CODE) * np.int32(axis_unit(shape, axis)), size))
    return AxisScales((codes[0], codes[1], codes[2]))
