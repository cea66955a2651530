"""The dense VAE of Cheng et al. 2024: one hidden layer on each side.

    x [chunk] --Linear, leaky ReLU--> [hidden] --Linear--> mean, log variance [latent each]      encoder, not stored
    z [latent] --Linear, leaky ReLU--> [hidden] --Linear--> mean of x [chunk]                    decoder, stored

The paper says "fully connected layers" and leaves the widths open.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Posterior, Prediction
from weightzip.vae.family import Family, Sizes, initialise
from weightzip.vae.integer_decoder import INVERSE_SLOPE
from weightzip.vae.width import hidden_width

SLOPE = 1 / INVERSE_SLOPE  # of the leaky ReLU


class DenseVAE(Family):
    """A VAE over blocks [batch, chunk] with `latent` latents and `hidden` units on each side."""

    name: ClassVar[str] = "dense"

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        chunk, latent, hidden = sizes.block, sizes.latent, sizes.hidden
        self.encoder = nn.Sequential(nn.Linear(chunk, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, chunk))
        self.log_variance = nn.Parameter(torch.zeros(()))  # of p(x|z), shared by all elements (Rybkin et al. 2021)
        initialise(self, generator)

    @staticmethod
    def hidden_for(blocks: Tensor, latent: int) -> int:
        """As many as principal components explain nearly all variance."""
        return hidden_width(blocks)

    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x) of blocks [batch, chunk]."""
        return Posterior.of(self.encoder(batch.blocks))

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """p(x|z), of one variance for all elements."""
        return Prediction(self.decoder(latents), self.log_variance)
