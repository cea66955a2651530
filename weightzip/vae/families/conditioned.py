"""The autoencoder conditioned on an id (Kapka 2020, "ID-conditioned auto-encoder for unsupervised anomaly detection").

    x --128, 64, 32, batch norm, ReLU--> Z [latent];  id l, one-hot --16 sigmoid units--> gamma(l), beta(l) [latent]
    gamma(l) * Z + beta(l) --4 x 128, batch norm, ReLU--> x where l is the block's own id, a constant C where it is another's

The id is that of the tensor a block comes from. A block in a tensor where it does not belong is therefore decoded badly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Losses, Posterior, Prediction
from weightzip.vae.family import Family, Sizes, initialise, nothing_before

ALPHA = 0.75  # probability of the matching id in training
CONSTANT = 5.0  # what the decoder is to give for any other
_ENCODER = (128, 64, 32)
_DECODER = (128, 128, 128, 128)
_CONDITION = 16
_CODE_NOISE = 0.1  # by how much, relative to one, a code may be off in a file: the network itself is no judge of that


class ConditionedAE(Family):
    """An autoencoder without a prior, so that its KL is zero. Its code lies within (-1, 1)."""

    name: ClassVar[str] = "conditioned"
    defaults: ClassVar[Mapping[str, float]] = {
        "chunk": 256,
        "latent": 16,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "copies": 2,
        "validation_copies": 1,
        "epochs": 100,
    }
    decay: ClassVar[tuple[int, float]] = (5, 0.95)
    decoder: nn.ModuleDict

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        self.encoder = nn.Sequential(*_layers((sizes.block, *_ENCODER)), nn.Linear(_ENCODER[-1], sizes.latent), nn.Tanh())
        self.decoder = nn.ModuleDict(
            {
                "gamma": _condition(sizes.tensors, sizes.latent),
                "beta": _condition(sizes.tensors, sizes.latent),
                "body": nn.Sequential(*_layers((sizes.latent, *_DECODER)), nn.Linear(_DECODER[-1], sizes.block)),
            }
        )
        self.register_buffer("log_variance", torch.zeros(()))
        self.log_variance: Tensor
        initialise(self, generator)

    def posterior(self, batch: Batch) -> Posterior:
        """The code, with the deviation by which it may be off."""
        code = self.encoder(batch.blocks)
        return Posterior(code, torch.full_like(code, _CODE_NOISE).log() * 2)

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """The blocks, were they of these tensors [n]."""
        one_hot = nn.functional.one_hot(tensor, self.sizes.tensors).to(latents.dtype)  # [n, tensors]
        conditioned = self.decoder["gamma"](one_hot) * latents + self.decoder["beta"](one_hot)
        return Prediction(self.decoder["body"](conditioned), self.log_variance)

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Square error towards the block with its own id, towards the constant with another's."""
        count = len(batch.blocks)
        shape = (count,)
        matching = torch.rand(shape, generator=generator, device=batch.blocks.device) < ALPHA
        if self.sizes.tensors == 1:
            matching = torch.ones_like(matching)
        shift = torch.randint(1, max(2, self.sizes.tensors), shape, generator=generator, device=batch.blocks.device)
        other = (batch.tensor + shift) % self.sizes.tensors
        target = torch.where(matching[:, None], batch.blocks, CONSTANT)
        code = self.posterior(batch).mean
        prediction = self.decode(code, torch.where(matching, batch.tensor, other), nothing_before(batch.blocks))
        return Losses(0.5 * (target - prediction.mean).square().sum(dim=1), code.new_zeros(count))

    def score(self, batch: Batch) -> Tensor:
        """The mean square error with the id of the tensor where a block was found, [n]."""
        return (batch.blocks - self.predict(batch).mean).square().mean(dim=1)

    def finish(self, errors: Tensor) -> None:
        """The variance of what is left over, which training has not needed."""
        self.log_variance.fill_(float(errors.square().mean().clamp_min(1e-8).log()))


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return layers


def _condition(tensors: int, latent: int) -> nn.Module:
    return nn.Sequential(nn.Linear(tensors, _CONDITION), nn.Sigmoid(), nn.Linear(_CONDITION, latent))
