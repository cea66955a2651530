"""A heteroskedastic VAE (HVAE): its decoder says how sure it is of every element.

    x --Linear, ELU, dropout 0.1, twice--> mean, log variance of z;  z --the same, mirrored--> mean [size], precision [size]

The precision is the softplus of a doubled output layer, or of a second network of the decoder's shape ("big precision").
Trained on KL + 1/2 (precision-weighted square error - sum of the log precisions); a block's score is its weighted error. For
the codec the precisions are a model of how large the residuals are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Posterior, Prediction
from weightzip.vae.family import Family, Log, Sizes, initialise

DROPOUT = 0.1
_LEAST_PRECISION = 1e-3


class HeteroskedasticVAE(Family):
    """HVAE; precisions: from the decoder's own output layer, doubled, or from a network of their own."""

    name: ClassVar[str] = "heteroskedastic"
    defaults: ClassVar[Mapping[str, float]] = {
        "chunk": 256,
        "latent": 32,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "copies": 8,
        "validation_copies": 2,
        "epochs": 40,
    }

    decoder: nn.ModuleList

    def __init__(self, sizes: Sizes, generator: torch.Generator, precisions: Literal["doubled", "network"] = "doubled") -> None:
        super().__init__(sizes, generator)
        hidden = sizes.hidden
        self.encoder = nn.Sequential(
            *_hidden(sizes.block, hidden), *_hidden(hidden, hidden), nn.Linear(hidden, 2 * sizes.latent)
        )
        networks = (sizes.block, sizes.block) if precisions == "network" else (2 * sizes.block,)
        self.decoder = nn.ModuleList(
            nn.Sequential(*_hidden(sizes.latent, hidden), *_hidden(hidden, hidden), nn.Linear(hidden, outputs))
            for outputs in networks
        )
        self.softplus, self.log = nn.Softplus(), Log()
        initialise(self, generator)

    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x) of blocks [n, size]."""
        return Posterior.of(self.encoder(batch.blocks))

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """p(x|z), of a precision for every element."""
        mean, raw = torch.cat([network(latents) for network in self.decoder], dim=1).chunk(2, dim=1)  # [n, size] each
        return Prediction(mean, -self.log(self.softplus(raw) + _LEAST_PRECISION))

    def score(self, batch: Batch) -> Tensor:
        """The precision-weighted mean square error, [n]."""
        prediction = self.predict(batch)
        weighted = (batch.blocks - prediction.mean).square() * torch.exp(-prediction.log_variance)
        return weighted.mean(dim=1)


def _hidden(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ELU(), nn.Dropout(DROPOUT)]
