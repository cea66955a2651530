"""The evidence lower bound of a VAE with Gaussian posterior, prior and likelihood (Kingma & Welling 2014), in nats."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """q(z|x), a diagonal Gaussian: mean and log variance, each [batch, latent]."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """z = mean + sigma * epsilon, [batch, latent]: the reparameterisation of Kingma & Welling 2014, section 2.4."""
        epsilon = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + torch.exp(0.5 * self.log_variance) * epsilon

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)), [batch], in nats (Kingma & Welling 2014, appendix B)."""
        terms = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.sum(dim=1)


def gaussian_nll(target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(target; mean, exp(log_variance) I), [batch], in nats; log_variance is one learned scalar."""
    squared = (target - mean).square().sum(dim=1)
    return 0.5 * (squared * torch.exp(-log_variance) + target.shape[1] * (log_variance + math.log(2 * math.pi)))
