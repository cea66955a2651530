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

    @staticmethod
    def of(both: Tensor) -> Posterior:
        """The halves of an encoder's output [batch, 2 * latent], the variances kept within reason."""
        mean, log_variance = both.chunk(2, dim=1)
        kept = log_variance.clamp(-20.0, 5.0)
        # The gradient passes the limits: a latent that a large step has put beyond them would otherwise stay there, as noise.
        return Posterior(mean, kept.detach() + (log_variance - log_variance.detach()))

    @property
    def deviation(self) -> Tensor:
        """Sigma, [batch, latent]."""
        return torch.exp(0.5 * self.log_variance)

    def sample(self, generator: torch.Generator) -> Tensor:
        """z = mean + sigma * epsilon, [batch, latent]: the reparameterisation of Kingma & Welling 2014, section 2.4."""
        epsilon = torch.empty_like(self.mean).normal_(generator=generator)
        return self.mean + self.deviation * epsilon

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)), [batch], in nats (Kingma & Welling 2014, appendix B)."""
        terms = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.sum(dim=1)


@dataclass(frozen=True)
class Prediction:
    """p(x|z), a diagonal Gaussian: mean [batch, size]; log_variance, one number for all elements, or [batch, size]."""

    mean: Tensor
    log_variance: Tensor

    def nll(self, target: Tensor) -> Tensor:
        """-log N(target; mean, exp(log_variance) I), [batch], in nats."""
        squared = (target - self.mean).square()
        if self.log_variance.dim() == 0:
            scaled = squared.sum(dim=1) * torch.exp(-self.log_variance)
            return 0.5 * (scaled + target.shape[1] * (self.log_variance + math.log(2 * math.pi)))
        terms = squared * torch.exp(-self.log_variance) + self.log_variance + math.log(2 * math.pi)
        return 0.5 * terms.sum(dim=1)


@dataclass(frozen=True)
class Losses:
    """What training makes small: reconstruction and KL, each [batch] in nats, whose sum is the negative ELBO.

    besides: a further term of the whole batch, such as a classifier's cross entropy.
    """

    reconstruction: Tensor
    kl: Tensor
    besides: Tensor | float = 0.0

    def total(self, present: Tensor, beta: float) -> Tensor:
        """The mean over the blocks that are present [batch], plus what is besides."""
        each = self.reconstruction + beta * self.kl
        return (each.mean() if bool(present.all()) else each[present].mean()) + self.besides
