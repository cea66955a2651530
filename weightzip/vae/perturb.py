"""Noise-perturbed copies of a model: the training data of a per-model VAE (Cheng et al. 2024, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor


def perturb(chunks: Tensor, *, noise: float, noisy_fraction: float, generator: torch.Generator) -> Tensor:
    """Chunks [n, chunk_size] with Gaussian noise of deviation `noise` added at a random `noisy_fraction` of positions."""
    deviation = torch.empty_like(chunks).normal_(std=noise, generator=generator)
    if noisy_fraction < 1:
        deviation *= torch.empty_like(chunks).uniform_(generator=generator) < noisy_fraction
    return deviation.add_(chunks)
