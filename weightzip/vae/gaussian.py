"""The rate of Gaussian latents: separable variances over three axes, and the code length that they promise.

Values v[i, j, k] are modelled as N(0, a[i] b[j] c[k]): one number for each place along each axis, or one for a whole axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

DISTORTION = 0.3  # mean square error of trellis-coded values, in squared fine steps
PRICE = 0.5 / math.log(2)  # bits that one DISTORTION of mean square error is worth: the slope of 1/2 log2(v / DISTORTION)
_FLOOR = 1e-4  # variance added along the first axis, far below the distortion, for parts that are all zero
_ZERO = 1e-7  # share of an axis's largest variance at which a place counts as zero
_PASSES = 3
_BLOCK = 1 << 18  # values squared at a time, which bounds memory
_QUANTILES = 512
Variances = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def separable_variances(values: NDArray[np.float32]) -> Variances:
    """Maximum-likelihood variances of values [a, b, c] in fine steps, by alternation.

    Those of the last two axes have geometric mean 1, but for places where all is zero.
    """
    outer, inner, length = values.shape
    a, b, c = np.ones(outer), np.ones(inner), np.ones(length)
    if not values.size:
        return a, b, c
    matrix = torch.from_numpy(np.ascontiguousarray(values)).view(outer * inner, length)
    rows = max(1, _BLOCK // (inner * length))
    for _ in range(_PASSES):
        weights_b, weights_c = _weights(b), _weights(c)
        sum_b, sum_c = np.zeros(inner), np.zeros(length)
        for start in range(0, outer, rows):
            power = matrix[start * inner : (start + rows) * inner].square()
            mean = _weighted(power, weights_c).reshape(-1, inner)  # [rows, b], over c
            a[start : start + rows] = mean @ weights_b + _FLOOR
            part = 1 / a[start : start + rows, None]
            sum_b += (mean * part).sum(axis=0)
            sum_c += _weighted(power.T, (part * weights_b).reshape(-1))
        b, c = _centred(sum_b), _centred(sum_c)
    return a, b, c


def estimated_bits(variances: Variances) -> float:
    """Bits of values with these variances in squared fine steps: the sum of 1/2 log2(1 + v / DISTORTION).

    Large arrays are summed over the quantiles of their factors.
    """
    return _total(variances, lambda ratio: 0.5 * np.log2(1.0 + ratio))


def estimated_cost(variances: Variances) -> float:
    """Bits of values with these variances and, at its price in bits, the distortion that they keep."""
    return _total(variances, cost)


def cost(ratio: NDArray[np.floating]) -> NDArray[np.floating]:
    """Bits and priced distortion of values whose variance is `ratio` times DISTORTION, by reverse water-filling.

    What is smaller than the distortion is left out, and costs itself; what is larger costs 1/2 log2(ratio), and the distortion.
    """
    priced: NDArray[np.floating] = 0.5 * np.log2(np.maximum(ratio, 1.0)) + PRICE * np.minimum(ratio, 1.0)
    return priced


def _total(variances: Variances, per_value: Callable[[NDArray[np.floating]], NDArray[np.floating]]) -> float:
    a, b, c = variances
    vectors = _quantiles(np.outer(a, b).reshape(-1) / DISTORTION)
    if not vectors.size * c.size:
        return 0.0
    ratios = np.outer(vectors, _quantiles(c)).astype(np.float32)
    return float(per_value(ratios).mean(dtype=np.float64)) * a.size * b.size * c.size


def _weighted(power: torch.Tensor, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums [n] of power [n, m] weighted with [m]."""
    sums: NDArray[np.float64] = (power @ torch.from_numpy(weights.astype(np.float32))).double().numpy()
    return sums


def _weights(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """What powers are weighted with for their mean, each in units of its variance, over all places but those of zeros."""
    live = variances > _ZERO
    weights: NDArray[np.float64] = live / variances / max(int(np.count_nonzero(live)), 1)
    return weights


def _centred(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    live = sums > 10 * _ZERO * float(sums.max())
    level = float(np.exp(np.log(sums[live]).mean())) if live.any() else 1.0
    centred: NDArray[np.float64] = np.where(live, np.maximum(sums / level, 2 * _ZERO), _ZERO)
    return centred


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values themselves, or the middles of as many equal shares of them in order."""
    if values.size <= _QUANTILES:
        return values
    return np.sort(values)[((np.arange(_QUANTILES) + 0.5) * (values.size / _QUANTILES)).astype(np.int64)]
