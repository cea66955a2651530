"""A VAE that learns from few labels (semi-supervised, with sparse labels).

    x --body--> h --Linear--> mean, log variance of z
                 \\--Linear, softmax--> pi [labels]             z, pi --decoder--> mean of x

Loss: the negative ELBO of all samples, and the cross entropy of pi for those that have a label, divided by their number. For
weights the label is the kind of tensor that a block comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.blocks.kinds import KINDS
from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Losses, Posterior, Prediction
from weightzip.vae.family import Family, Sizes, initialise, nothing_before

_PI_NOISE = 0.1  # by how much a probability may be off in a file


class LabelledVAE(Family):
    """The networks can be given, as the published ones differ by data: `body` [n, size] -> [n, width], and `decoder`."""

    name: ClassVar[str] = "labelled"
    defaults: ClassVar[Mapping[str, float]] = {
        "chunk": 256,
        "latent": 32,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "copies": 8,
        "validation_copies": 2,
        "epochs": 40,
    }

    def __init__(
        self,
        sizes: Sizes,
        generator: torch.Generator,
        *,
        labels: int = len(KINDS),
        body: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__(sizes, generator)
        hidden = sizes.hidden
        self.num_latents = sizes.latent + labels
        self.body = body or nn.Sequential(*_hidden(sizes.block, hidden), *_hidden(hidden, hidden))
        self.code = nn.Linear(hidden, 2 * sizes.latent)
        self.pi = nn.Linear(hidden, labels)
        self.decoder = decoder or nn.Sequential(
            *_hidden(self.num_latents, hidden), *_hidden(hidden, hidden), nn.Linear(hidden, sizes.block)
        )
        self.log_variance = nn.Parameter(torch.zeros(()))
        initialise(self, generator)

    def logits(self, batch: Batch) -> Tensor:
        """The logarithms of the labels' probabilities up to a constant, [n, labels]."""
        logits: Tensor = self.pi(self.body(batch.blocks))
        return logits

    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x), and behind it the labels' probabilities with the deviation by which they may be off."""
        latents, logits = self._both(batch)
        pi = torch.softmax(logits, dim=1)
        noise = torch.full_like(pi, _PI_NOISE).log() * 2
        return Posterior(torch.cat([latents.mean, pi], dim=1), torch.cat([latents.log_variance, noise], dim=1))

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """p(x|z, pi), of one variance for all elements."""
        return Prediction(self.decoder(latents), self.log_variance)

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """The negative ELBO, and the classifier's cross entropy."""
        latents, logits = self._both(batch)
        code = torch.cat([latents.sample(generator), torch.softmax(logits, dim=1)], dim=1)
        prediction = self.decode(code, batch.tensor, nothing_before(batch.blocks))
        return Losses(prediction.nll(batch.blocks), latents.kl(), cross_entropy(logits, batch.kind))

    def score(self, batch: Batch) -> Tensor:
        """The negative ELBO at the posterior's mean, and how little the label fits where there is one, [n]."""
        latents, logits = self._both(batch)
        code = torch.cat([latents.mean, torch.softmax(logits, dim=1)], dim=1)
        prediction = self.decode(code, batch.tensor, nothing_before(batch.blocks))
        unfit = nn.functional.cross_entropy(logits, batch.kind, ignore_index=-1, reduction="none")
        return prediction.nll(batch.blocks) + latents.kl() + unfit

    def _both(self, batch: Batch) -> tuple[Posterior, Tensor]:
        top = self.body(batch.blocks)
        return Posterior.of(self.code(top)), self.pi(top)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the samples that have a label; zero where none has one."""
    if not bool((labels >= 0).any()):
        return logits.sum() * 0
    return nn.functional.cross_entropy(logits, labels, ignore_index=-1)


def _hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU()]
