"""Noise-perturbed copies of a model: the training data of a per-model VAE (Cheng et al. 2024, section 3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def perturb(chunks: Tensor, *, noise: float, noisy_fraction: float, generator: torch.Generator) -> Tensor:
    """Chunks [n, chunk_size] with Gaussian noise of deviation `noise` added at a random `noisy_fraction` of positions."""
    deviation = torch.empty_like(chunks).normal_(std=noise, generator=generator)
    if noisy_fraction < 1:
        deviation *= torch.empty_like(chunks).uniform_(generator=generator) < noisy_fraction
    return deviation.add_(chunks)


def perturbed_batches(
    chunks: Tensor, *, copies: int, batch_size: int, noise: float, noisy_fraction: float, generator: torch.Generator
) -> Iterator[Tensor]:
    """Every chunk of `copies` perturbed copies once, shuffled, in batches [batch, chunk_size].

    The copies are drawn as they are used, so their number costs time but no memory, and each epoch sees new ones.
    """
    order = torch.randperm(copies * len(chunks), generator=generator, device=chunks.device) % len(chunks)
    for members in torch.split(order, batch_size):
        yield perturb(chunks[members], noise=noise, noisy_fraction=noisy_fraction, generator=generator)
