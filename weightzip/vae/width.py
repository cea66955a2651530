"""How wide a decoder has to be, from the spectrum of the blocks (probabilistic PCA, Tipping & Bishop 1999)."""

from __future__ import annotations

import torch
from torch import Tensor

EXPLAINED = 0.99  # share of the blocks' variance
MIN_HIDDEN = 4
MAX_HIDDEN = 128  # so that training time grows with the number of blocks, not with its square


def hidden_width(blocks: Tensor) -> int:
    """Principal components that explain 99% of the variance of blocks [n, size] around their mean, between 4 and 128.

    A hidden unit contributes one direction to the decoder's output, so fewer lose variance that no training brings back,
    and more are bytes of decoder that memorise noise. Costs O(n size min(n, size)).
    """
    centred = (blocks - blocks.mean(dim=0)).double()
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    energy = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    needed = int((energy.cumsum(0) < EXPLAINED * energy.sum()).sum()) + 1
    return max(MIN_HIDDEN, min(needed, len(energy), MAX_HIDDEN))
