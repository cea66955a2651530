"""The dense decoder in integers: small to store, and the same output bit for bit on every machine.

All factors are integers in units of a step. Matrix products run in float64, where sums of integers below 2^53 are exact in
whatever order a machine adds them up; the leaky ReLU's slope is a power of two. Only the last line multiplies by a real number.

    latents q [n, latent]  --first, bias-->  p = q first' + bias          (unit: step)
                           --leaky ReLU-->   h = max(8 p, p)              (unit: step / 8)
                           --second-->       y = h second' + mean << k    (unit: step / 8 * step of second)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightzip.errors import FormatError

INVERSE_SLOPE = 8  # of the leaky ReLU; a power of two, so that both arithmetics apply it exactly
_EXACT = 2.0**53
_BATCH = 4096  # blocks decoded at a time, which bounds memory
Integers = NDArray[np.int32]


@dataclass(frozen=True)
class IntegerDecoder:
    """first: [hidden, latent]; bias: [hidden, 1]; second: [block, hidden]; mean: [block, 1], worth 2^mean_shift units each."""

    first: Integers
    bias: Integers
    second: Integers
    mean: Integers
    mean_shift: int

    def hidden(self, latents: Integers) -> NDArray[np.float64]:
        """Activations [n, hidden] of quantised latents [n, latent], integers in eighths of the first layer's step."""
        _check_exact(np.abs(latents.astype(np.float64)).max(initial=0), self.first, self.bias, scale=INVERSE_SLOPE)
        before = latents.astype(np.float64) @ self.first.T.astype(np.float64) + self.bias[:, 0]  # [n, hidden]
        hidden: NDArray[np.float64] = np.maximum(INVERSE_SLOPE * before, before)
        return hidden

    def decode(self, latents: Integers, *, scale: float, offset: float) -> NDArray[np.float32]:
        """Blocks [n, block] = offset + scale * y. Raises FormatError where numbers are too large to be exact."""
        blocks = np.empty((len(latents), len(self.second)), np.float32)
        weights = self.second.T.astype(np.float64)
        mean = np.ldexp(self.mean[:, 0].astype(np.float64), self.mean_shift)
        for start in range(0, len(latents), _BATCH):
            hidden = self.hidden(latents[start : start + _BATCH])
            _check_exact(np.abs(hidden).max(initial=0), self.second, mean)
            units = hidden @ weights + mean  # [batch, block], exact integers
            with np.errstate(over="ignore"):  # infinite where float32 ends
                blocks[start : start + _BATCH] = units * scale + offset
        return blocks


def _check_exact(largest_input: float, weights: Integers, bias: NDArray[np.generic], *, scale: int = 1) -> None:
    """Raise FormatError unless every sum of |weights| * largest_input + |bias| stays an exact integer in float64."""
    row_sum = np.abs(weights.astype(np.float64)).sum(axis=1).max(initial=0)
    bias_size = np.abs(bias.astype(np.float64)).max(initial=0)
    if not scale * (row_sum * float(largest_input) + bias_size) < _EXACT:
        raise FormatError("the decoder's numbers are too large for exact arithmetic")
