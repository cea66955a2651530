"""Scales that take fewer bits: chosen again once the symbols are known, by what scales and symbols take together.

A scale is first fitted to the variance of its latents. Of few symbols, most of them zero, that says little: here every code of
an axis becomes the one under which its own symbols and its own telling are shortest, all other codes held, as often as that
helps.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.entropy.magnitudes import MAX_CLASSES
from weightzip.quantise.axes import CLASS_OF_ONE_STEP, AxisScales, axis_unit, may_vary
from weightzip.quantise.trellis import NUM_PRICES

_KINDS = 2 * NUM_PRICES  # of symbols, by quantiser and magnitude
_DIRECT = 12  # units from the level, from which telling a code takes a word
_BITS_OF_A_WORD = 38.0
_UNSEEN = 0.25  # what a code that does not occur is counted as
_MOST_KINDS = 1 << 22  # numbers of a histogram, which bounds memory


def shortened(
    symbols: NDArray[np.int32], quantisers: NDArray[np.uint8], scales: AxisScales, prices: NDArray[np.float32]
) -> AxisScales:
    """The scales of an array [a, b, c], given its symbols and quantisers, flat, at these prices of magnitudes.

    prices: bits [classes, 2, NUM_PRICES]. Takes time in proportion to the array's size, and little memory besides.
    """
    if not symbols.size:
        return scales
    kinds = np.minimum(np.abs(symbols), NUM_PRICES - 1) + NUM_PRICES * quantisers.astype(np.int32)
    kinds = kinds.reshape(scales.shape)
    for axis in range(3):
        if may_vary(scales.shape, axis) and (codes := _cheapest(kinds, scales, axis, prices)) is not None:
            first, second, third = (codes if other == axis else before for other, before in enumerate(scales.codes))
            scales = replace(scales, codes=(first, second, third))
    return scales


def _cheapest(kinds: NDArray[np.int32], scales: AxisScales, axis: int, prices: NDArray[np.float32]) -> NDArray[np.int32] | None:
    """The codes of one axis, all others held; None where that would take more memory than it is worth."""
    others = [np.ascontiguousarray(codes) for other, codes in enumerate(scales.codes) if other != axis]
    held = CLASS_OF_ONE_STEP + (others[0][:, None] + others[1][None, :]).reshape(-1)
    values, places = np.unique(held, return_inverse=True)
    size, unit = scales.shape[axis], axis_unit(scales.shape, axis)
    if size * values.size * _KINDS > _MOST_KINDS:
        return None
    rows = np.moveaxis(kinds, axis, 0).reshape(size, -1)
    place = (np.arange(size)[:, None] * values.size + places.reshape(-1)[None, :]) * _KINDS + rows
    counts = np.bincount(place.reshape(-1), minlength=size * values.size * _KINDS).reshape(size, -1)
    candidates = unit * np.arange(-(int(values.max()) // unit), (MAX_CLASSES - 1 - int(values.min())) // unit + 1)
    classes = np.clip(candidates[:, None] + values[None, :], 0, MAX_CLASSES - 1)
    costs = prices.reshape(MAX_CLASSES, _KINDS)[classes].reshape(len(candidates), -1)
    bits = (torch.from_numpy(counts).double() @ torch.from_numpy(costs).double().T).numpy()
    bits += _telling(scales.codes[axis] // unit, candidates // unit)
    chosen: NDArray[np.int32] = candidates[bits.argmin(axis=1)].astype(np.int32)
    return chosen


def _telling(codes: NDArray[np.int32], candidates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits that each candidate takes as a code, as often as it occurs among the codes now."""
    seen, counts = np.unique(codes, return_counts=True)
    often = dict(zip(seen.tolist(), counts.tolist(), strict=True))
    bits = np.array([math.log2((codes.size + 1) / (often.get(each, 0) + _UNSEEN)) for each in candidates.tolist()])
    far = np.abs(candidates - round(float(codes.mean()))) >= _DIRECT
    told: NDArray[np.float64] = bits + _BITS_OF_A_WORD * far
    return told
