"""What every family of autoencoders over blocks of weights can do, for the codec, for denoising and for watching alike.

    blocks --encode--> latents --decode--> prediction: mean and variance of every element --score--> how odd a block is
           \\____________ losses: what training makes small ____________/

A family is one file of `weightzip.vae.families` and one line of its registry.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Losses, Posterior, Prediction


@dataclass(frozen=True)
class Sizes:
    """Of a network: elements of a block, latents of a block, units of a hidden layer, tensors that blocks come from."""

    block: int
    latent: int
    hidden: int
    tensors: int = 1


class Family(nn.Module, ABC):
    """A variational autoencoder; the families differ in their networks and in what they override.

    name: on the command line and in files. defaults: the fields of `VAESettings` in which the family departs from the paper's,
    its published training among them. frames: blocks of a lane (see `weightzip.vae.batch`). num_latents: numbers that `encode`
    gives for a block. Of the modules, a file stores those of `decoder` alone.
    """

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, float]] = {}
    frames: ClassVar[int] = 1
    adam_betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    decay: ClassVar[tuple[int, float]] = (1, 1.0)  # after so many epochs the learning rate is multiplied by so much
    decoder: nn.Module
    num_latents: int

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        """Networks of these sizes; a family initialises them from the generator alone."""
        super().__init__()
        self.sizes = sizes
        self.num_latents = sizes.latent

    @staticmethod
    def hidden_for(blocks: Tensor, latent: int) -> int:
        """Units of a hidden layer where nobody says how many."""
        return 128

    @abstractmethod
    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x) of the blocks, [n, num_latents]."""

    @abstractmethod
    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """p(x|z) of latents [n, num_latents], for blocks of the tensors [n], given the blocks before them [n, any, size]."""

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """The negative ELBO of the blocks, in nats."""
        posterior = self.posterior(batch)
        prediction = self.decode(posterior.sample(generator), batch.tensor, nothing_before(batch.blocks))
        return Losses(prediction.nll(batch.blocks), posterior.kl())

    def predict(self, batch: Batch) -> Prediction:
        """The blocks as the family expects them: decoded from the means of their posteriors."""
        return self.decode(self.posterior(batch).mean, batch.tensor, nothing_before(batch.blocks))

    def score(self, batch: Batch) -> Tensor:
        """How odd each block is, [n]: its negative ELBO at the posterior's mean, or what the family's source says."""
        return self.predict(batch).nll(batch.blocks) + self.posterior(batch).kl()

    def finish(self, errors: Tensor) -> None:
        """Called once after training with what `predict` was off by on the training blocks, [n, size]."""


class Log(nn.Module):
    """The natural logarithm as a module, so that `weightzip.vae.exact` finds it."""

    def forward(self, values: Tensor) -> Tensor:
        """Of positive values [any]."""
        return torch.log(values)


def nothing_before(blocks: Tensor) -> Tensor:
    """No blocks at all before each of [n, size]: [n, 0, size]."""
    return blocks.new_zeros(len(blocks), 0, blocks.shape[1])


def plane(size: int) -> tuple[int, int]:
    """A block as [rows, features]: the divisors nearest to a square, fewer rows than features.

    >>> plane(2048), plane(100), plane(7)
    ((32, 64), (10, 10), (1, 7))
    """
    rows = next(rows for rows in range(math.isqrt(size), 0, -1) if size % rows == 0)
    return rows, size // rows


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, *, gain: float = 1.0) -> None:
    """Weights uniform with variance gain^2 / inputs, from the given generator alone; biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = gain * math.sqrt(3.0 / layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()


@torch.no_grad()
def xavier(module: nn.Module, generator: torch.Generator) -> None:
    """The initialisation of Glorot & Bengio 2010, from the given generator alone; biases zero."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
