"""The convolutional VAE that Kim et al. 2018 compare with ("Squeezed Convolutional Variational AutoEncoder").

    block as [1, rows, features] --conv 3x3: 16, 32, 64, 128, the last without padding--> --Linear--> mean, log variance of z
    z as a map [1, a, b] --transposed conv 3x3: 128, 64, 32, 16, 1--> --Linear--> mean, log variance of every element

ReLU and batch norm (decay 0.9) after every convolution, none on the last dense layers; Glorot's initialisation. Published with
100 latents, Adam at 2e-4, batches of 64. How z enters the decoder's convolutions is left open there; here as a map of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Posterior, Prediction
from weightzip.vae.family import Family, Sizes, plane, xavier

CHANNELS = (16, 32, 64, 128)
_MOMENTUM = 0.1  # of the batch norms, whose decay is 0.9
_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -10.0, 10.0


class ConvVAE(Family):
    """CNN-VAE: convolutions over a block seen as a plane."""

    name: ClassVar[str] = "conv"
    defaults: ClassVar[Mapping[str, float]] = {
        "chunk": 256,
        "latent": 100,
        "learning_rate": 2e-4,
        "batch_size": 64,
        "copies": 2,
        "validation_copies": 1,
        "epochs": 10,
    }

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        self.encoder = _encoder(plane(sizes.block), sizes.latent, self.encoder_maps())
        self.decoder = _decoder(plane(sizes.latent), sizes.block, self.decoder_maps())
        xavier(self, generator)

    def encoder_maps(self) -> tuple[nn.Module, int, int]:
        """The encoder's convolutions, their last number of channels, and by how much they make a plane smaller."""
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
            padding = 0 if index == len(CHANNELS) - 1 else 1
            layers += [nn.Conv2d(inputs, outputs, 3, padding=padding), *after_convolution(outputs)]
        return nn.Sequential(*layers), CHANNELS[-1], 2

    def decoder_maps(self) -> nn.Module:
        """The decoder's transposed convolutions, from one channel to one."""
        layers: list[nn.Module] = []
        for inputs, outputs in zip((1, *reversed(CHANNELS)), (*reversed(CHANNELS), 1), strict=True):
            layers += [nn.ConvTranspose2d(inputs, outputs, 3, padding=1), *after_convolution(outputs)]
        return nn.Sequential(*layers)

    def posterior(self, batch: Batch) -> Posterior:
        """q(z|x) of blocks [n, size]."""
        return Posterior.of(self.encoder(batch.blocks))

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """p(x|z), of a variance for every element."""
        mean, log_variance = self.decoder(latents).chunk(2, dim=1)  # [n, size] each
        return Prediction(mean, log_variance.clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE))


def after_convolution(channels: int) -> list[nn.Module]:
    """What follows every convolution."""
    return [nn.BatchNorm2d(channels, momentum=_MOMENTUM), nn.ReLU()]


def _encoder(rows_and_features: tuple[int, int], latent: int, maps: tuple[nn.Module, int, int]) -> nn.Module:
    rows, features = rows_and_features
    body, channels, shrink = maps
    # A plane of one or two rows is padded, so that the convolution without padding leaves something.
    extra = max(0, shrink + 1 - rows)
    flat = channels * (rows + extra - shrink) * (max(features, shrink + 1) - shrink)
    pad = nn.ZeroPad2d((0, max(0, shrink + 1 - features), 0, extra))
    return nn.Sequential(nn.Unflatten(1, (1, rows, features)), pad, body, nn.Flatten(), nn.Linear(flat, 2 * latent))


def _decoder(latent_plane: tuple[int, int], block: int, maps: nn.Module) -> nn.Module:
    cells = latent_plane[0] * latent_plane[1]
    return nn.Sequential(nn.Unflatten(1, (1, *latent_plane)), maps, nn.Flatten(), nn.Linear(cells, 2 * block))
