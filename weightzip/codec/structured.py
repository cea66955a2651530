"""Weights that are not for lossy coding: exact ones are as small, and whoever stored them meant the very values.

Masks, constants and ternary matrices have few distinct values, which an exact code says in less than a lossy one, and a mask
that comes back as 0.02 no longer hides anything. A single number (a temperature, a decay, a count) is no weight at all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint, release
from weightzip.codec.header import LOSSY_DTYPES
from weightzip.codec.lossless import LosslessCodec

_RUNS, _RUN = 8, 512  # values that are looked at first: runs of so many
_FEW = 16  # times as many values as distinct ones among them: worth a closer look
_FRAME = 69  # bytes that the exact code takes for a constant alone; small tensors share them


def keep_structured(checkpoint: Checkpoint, most_bits: float) -> Checkpoint:
    """The checkpoint without those weights that are single numbers, or need at most `most_bits` a value to be stored exactly.

    Costs a look at 4,096 values of each tensor, and the exact code of those with few distinct ones.
    """

    def is_better_exact(name: str) -> bool:
        found = _is_better_exact(checkpoint.dense(name), most_bits)
        if checkpoint.mapped:
            release(checkpoint.tensors[name])
        return found

    names = [name for name in checkpoint.weights if checkpoint.tensors[name].dtype in LOSSY_DTYPES]
    return replace(checkpoint, weights=checkpoint.weights.difference([name for name in names if is_better_exact(name)]))


def _is_better_exact(tensor: Tensor, most_bits: float) -> bool:
    if tensor.numel() < 2:
        return tensor.numel() == 1
    if _FEW * np.unique(_sample(tensor).numpy()).size > min(tensor.numel(), _RUNS * _RUN):
        return False
    exact = LosslessCodec().encode({"": tensor})
    return 8 * (sum(map(len, exact.sections.values())) - _FRAME) <= most_bits * tensor.numel()


def _sample(tensor: Tensor) -> Tensor:
    """Some runs of values as their bits, which tell -0 from 0."""
    flat = tensor.reshape(-1)
    starts = [k * max(0, flat.numel() - _RUN) // (_RUNS - 1) for k in range(_RUNS)]
    values = torch.cat([flat[start : start + _RUN] for start in starts])
    return values.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
