"""Weights that are not for lossy coding: exact ones are as small, and whoever stored them meant the very values.

Masks, constants and ternary matrices have few distinct values, which an exact code says in less than a lossy one, and a mask
that comes back as 0.02 no longer hides anything. A single number (a temperature, a decay, a count) is no weight at all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec.header import LOSSY_DTYPES
from weightzip.codec.lossless import LosslessCodec

_RUNS, _RUN = 8, 512  # values that are looked at first: runs of so many
_FEW = 16  # times as many values as distinct ones among them: worth a closer look
_FRAME = 69  # bytes that the exact code takes for a constant alone; small tensors share them


def exact_names(checkpoint: Checkpoint, most_bits: float) -> frozenset[str]:
    """Names of the weights that need at most `most_bits` a value to be stored exactly, or are single numbers.

    Costs a look at 4,096 values of each tensor, and the exact code of those with few distinct ones.
    """
    found = checkpoint.tensors.items()
    names = [name for name, tensor in found if name in checkpoint.weights and tensor.dtype in LOSSY_DTYPES]
    return frozenset(name for name in names if _is_better_exact(checkpoint.dense(name), most_bits))


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
