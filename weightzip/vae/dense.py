"""The dense VAE of Cheng et al. 2024: one hidden layer on each side.

    x [chunk] --Linear, leaky ReLU--> [hidden] --Linear--> mean, log variance [latent each]      encoder, not stored
    z [latent] --Linear, leaky ReLU--> [hidden] --Linear--> mean of x [chunk]                    decoder, stored

The paper says "fully connected layers" and leaves the widths open.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from weightzip.vae.elbo import Posterior, gaussian_nll
from weightzip.vae.integer_decoder import INVERSE_SLOPE

SLOPE = 1 / INVERSE_SLOPE  # of the leaky ReLU


class DenseVAE(nn.Module):
    """A VAE over blocks [batch, chunk] with `latent` latents and `hidden` units on each side."""

    def __init__(self, chunk: int, latent: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # torch's own initialisation would move the global generator
            self.encoder = nn.Sequential(nn.Linear(chunk, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 2 * latent))
            self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, chunk))
        self.log_variance = nn.Parameter(torch.zeros(()))  # of p(x|z), shared by all elements (Rybkin et al. 2021)
        _initialise(self, generator)

    def posterior(self, blocks: Tensor) -> Posterior:
        """q(z|x) of blocks [batch, chunk]."""
        mean, log_variance = self.encoder(blocks).chunk(2, dim=1)  # [batch, latent] each
        return Posterior(mean, log_variance.clamp(-20.0, 5.0))

    def decode(self, latents: Tensor) -> Tensor:
        """Mean of p(x|z) for latents [batch, latent]: [batch, chunk]."""
        decoded: Tensor = self.decoder(latents)
        return decoded

    def losses(self, blocks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(reconstruction, KL), each [batch] in nats; their sum is the negative ELBO of blocks [batch, chunk]."""
        posterior = self.posterior(blocks)
        decoded = self.decode(posterior.sample(generator))
        return gaussian_nll(blocks, decoded, self.log_variance), posterior.kl()


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights from the given generator alone."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = math.sqrt(3.0 / layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
