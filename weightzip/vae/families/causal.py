"""A causal predictor of the next block, like WaveNet (van den Oord et al. 2016), as next-frame predictors of sounds are.

    blocks of a lane [size, frames], one late --1x1--> --four gated layers, dilations 1, 2, 4, 8--> --1x1--> the next ones
    layer: GroupNorm (one group), grouped causal convolution (kernel 3, 4 groups), tanh * sigmoid, 1x1, added to its input

It has no latents: all that it knows of a block stands before it. The published GroupNorm also runs over time, so that later
frames move earlier ones; here each frame is normalised by itself, as a decoder has nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from weightzip.vae.batch import Batch
from weightzip.vae.elbo import Losses, Posterior, Prediction
from weightzip.vae.family import Family, Sizes, xavier

DILATIONS = (1, 2, 4, 8)
_GROUPS, _KERNEL = 4, 3
_CHANNELS = 64
_PERCENTILE = 0.95
_LEAST_VARIANCE = 1e-8


class CausalPredictor(Family):
    """Predicts every block from the ones before it in its tensor, 32 at a time."""

    name: ClassVar[str] = "causal"
    frames: ClassVar[int] = 32
    adam_betas: ClassVar[tuple[float, float]] = (0.85, 0.999)
    defaults: ClassVar[Mapping[str, float]] = {
        "chunk": 64,
        "latent": 1,
        "learning_rate": 1e-3,
        "batch_size": 32,
        "copies": 8,
        "validation_copies": 2,
        "epochs": 40,
    }

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        self.num_latents = 0
        layers = [_Gated(dilation) for dilation in DILATIONS]
        self.decoder = nn.Sequential(nn.Conv1d(sizes.block, _CHANNELS, 1), *layers, nn.Conv1d(_CHANNELS, sizes.block, 1))
        self.register_buffer("log_variance", torch.zeros(sizes.block))
        self.log_variance: Tensor  # [size], of a Gaussian fitted to the errors
        xavier(self, generator)

    def posterior(self, batch: Batch) -> Posterior:
        """Of no latents."""
        nothing = batch.blocks.new_zeros(len(batch.blocks), 0)
        return Posterior(nothing, nothing)

    def decode(self, latents: Tensor, tensor: Tensor, before: Tensor) -> Prediction:
        """The blocks that follow those before them, [n, frames so far, size]."""
        start = before.new_zeros(len(before), 1, before.shape[2])
        mean = self._shifted(torch.cat([start, before], dim=1))[:, -1]
        return Prediction(mean, self.log_variance.expand_as(mean))

    def predict(self, batch: Batch) -> Prediction:
        """Every block of every lane at once."""
        lanes = batch.blocks.view(-1, batch.frames, batch.blocks.shape[1])  # [m, frames, size]
        late = nn.functional.pad(lanes, (0, 0, 1, 0))[:, :-1]
        mean = self._shifted(late).reshape(batch.blocks.shape)
        return Prediction(mean, self.log_variance.expand_as(mean))

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses:
        """Square errors, as published."""
        error = (batch.blocks - self.predict(batch).mean).square().sum(dim=1)
        return Losses(0.5 * error, torch.zeros_like(error))

    def score(self, batch: Batch) -> Tensor:
        """-log p of the errors under the Gaussian that was fitted to those of training, [n]."""
        return self.predict(batch).nll(batch.blocks)

    def percentile_score(self, batch: Batch) -> Tensor:
        """The other published score: the 95th percentile of the square errors of each block, [n]."""
        return (batch.blocks - self.predict(batch).mean).square().quantile(_PERCENTILE, dim=1)

    def finish(self, errors: Tensor) -> None:
        """Fit the Gaussian."""
        self.log_variance.copy_(errors.square().mean(dim=0).clamp_min(_LEAST_VARIANCE).log())

    def _shifted(self, lanes: Tensor) -> Tensor:
        """What the network gives for lanes [m, frames, size], of the same shape."""
        given: Tensor = self.decoder(lanes.transpose(1, 2))
        return given.transpose(1, 2)


class _Gated(nn.Module):
    """One layer, on [m, channels, frames]."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, _CHANNELS)
        self.pad = nn.ConstantPad1d(((_KERNEL - 1) * dilation, 0), 0.0)
        self.convolution = nn.Conv1d(_CHANNELS, 2 * _CHANNELS, _KERNEL, dilation=dilation, groups=_GROUPS)
        self.tanh, self.sigmoid = nn.Tanh(), nn.Sigmoid()
        self.mix = nn.Conv1d(_CHANNELS, _CHANNELS, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        m, channels, frames = maps.shape
        each = self.norm(maps.transpose(1, 2).reshape(m * frames, channels)).view(m, frames, channels).transpose(1, 2)
        value, gate = self.convolution(self.pad(each)).chunk(2, dim=1)
        mixed: Tensor = self.mix(self.tanh(value) * self.sigmoid(gate))
        return maps + mixed
