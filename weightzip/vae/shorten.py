"""The end of the dense decoder's training: the hidden units whose output layer takes the fewest bits.

    latents, 1 [n, latent + 1]  --first-->  hidden units of root mean square 1, and 1 [n, hidden + 1]  --second-->  blocks

Given the hidden units, the output layer is least squares. Coded with noise D / (hidden + 1) in each weight, which moves the
blocks by D where the units are uncorrelated, column j of power c takes 1/2 log2(1 + c (hidden + 1) / D) bits per weight (the
rate of a Gaussian). Units that nearly repeat each other need large weights of opposite signs: gradient descent on those bits
moves them apart, and leaves what the decoder says as it was. On the zoo's models that saves a seventh of the output layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightzip.vae.integer_decoder import INVERSE_SLOPE

_STEPS = 500
_LEARNING_RATE = 0.03
_RIDGE = 1e-8  # of the hidden units' power: where they depend on each other, least squares still has one answer
_SILENT = 1e-9  # level up to which a unit is left as it is


def hidden_levels(latents: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Activations [n, hidden] of latents [n, latent + 1] under weights [hidden, latent + 1], and their root mean squares.

    A unit that is zero for all latents has level 1.
    """
    before = latents @ first.T
    hidden = torch.maximum(before, before / INVERSE_SLOPE)
    power = hidden.square().mean(dim=0)
    silent = power <= _SILENT**2
    return hidden, torch.where(silent, 1.0, torch.where(silent, 1.0, power).sqrt())


def hidden_units(latents: Tensor, first: Tensor) -> Tensor:
    """Activations at root mean square 1, with a last column of ones, which the output layer's bias multiplies."""
    hidden, levels = hidden_levels(latents, first)
    return torch.cat([hidden / levels, torch.ones_like(latents[:, :1])], dim=1)


def least_squares(hidden: Tensor, blocks: Tensor) -> Tensor:
    """The output layer [hidden + 1, size] that brings hidden units [n, hidden + 1] nearest to blocks [n, size]."""
    gram = hidden.T @ hidden / len(hidden)
    solution: Tensor = torch.linalg.solve(
        gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype), hidden.T @ blocks / len(hidden)
    )
    return solution


def left_over(hidden: Tensor, blocks: Tensor) -> Tensor:
    """Mean over the chunks of the squared distance by which the best output layer misses blocks [n, any]."""
    distance: Tensor = (blocks - hidden @ least_squares(hidden, blocks)).square().sum() / len(hidden)
    return distance


def output_bits(hidden: Tensor, blocks: Tensor, size: int, distortion: float) -> Tensor:
    """Bits that the output layer takes for each of `size` numbers of a block, given hidden units [n, hidden + 1].

    blocks: [n, any]; only their inner products matter, so that few numbers may stand for `size`. distortion: mean square error
    per number of a block; what least squares leaves over counts towards it.
    """
    second = least_squares(hidden, blocks)
    power = second.square().sum(dim=1) / size  # [hidden + 1]
    share = (blocks - hidden @ second).square().sum() / (len(hidden) * size * distortion)
    rate: Tensor = 0.5 * torch.log2(1.0 + power * len(power) / distortion).sum()
    # Noise smaller by what is left over, to first order; leaving over more than the distortion costs more than it saves.
    return rate + 0.5 / math.log(2) * len(power) * share * (1.0 + share)


def shorten(latents: Tensor, first: Tensor, blocks: Tensor, size: int, distortion: float) -> Tensor:
    """First-layer weights [hidden, latent + 1], started from `first`, with the smallest `output_bits`.

    latents: [n, latent + 1], the last column ones. Costs O(steps n hidden (latent + hidden)); no randomness.
    """
    # Inputs and units of level one, so that one learning rate suits all.
    input_levels = latents.square().mean(dim=0).sqrt().clamp_min(_SILENT)
    inputs = latents / input_levels
    weights = (first * input_levels / hidden_levels(latents, first)[1][:, None]).requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1.0 / _STEPS, _STEPS)
    for _ in range(_STEPS):
        bits = output_bits(hidden_units(inputs, weights), blocks, size, distortion)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(bits)
        optimiser.step()
        schedule.step()
    return weights.detach() / input_levels
