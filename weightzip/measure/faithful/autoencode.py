"""The families that are compared with each other as autoencoders, trained by turns on the same images.

Every pixel has noise of deviation 0.1 in training, as weights have in the codec: a family that gives each pixel a variance of
its own would otherwise be sure that the margins are black, and a single grey pixel there would outweigh all others.

One schedule for all. The published trainings of the convolutional families take hundreds of times as long, at a lower rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from weightzip.measure.faithful.nets import usual_vae
from weightzip.measure.faithful.pixels import SIZE, Pixels, Splits
from weightzip.measure.faithful.settings import Schedule, Settings
from weightzip.measure.faithful.training import Trainer, fit
from weightzip.progress import Progress
from weightzip.vae import UNKNOWN, Batch, Family, Sizes, build_family
from weightzip.vae.elbo import Losses
from weightzip.vae.family import nothing_before

LATENT = 100
STRIDED = "strided"  # the dense family with the semi-supervised part's convolutions, which are far cheaper to train
BATCH_SIZE = 32
_NOISE = 0.1  # of all pixels in training
_LEARNING_RATE, _LAST_RATE = 3e-3, 0.05  # the rate falls to this share of itself
_VARIANCE_RATE = 2e-2
_MOST_INPUTS = 2_048  # a layer with more learns the slower, or each step would move its outputs too far
_HIDDEN = 512  # units of the dense one
_AT_ONCE = 500  # images that are reconstructed together; also those that validate, as the convolutional one is slow


@dataclass(frozen=True)
class Trained:
    """A network after its training. steps, seconds: of training, seconds of processor time."""

    model: Family
    steps: int
    seconds: float


def autoencoders(splits: Splits, settings: Settings, progress: Progress) -> dict[str, Trained]:
    """The dense family, with convolutions of large strides as well, the convolutional and the squeezed one, on clean images."""
    return _train(("dense", STRIDED, "conv", "squeezed"), splits, settings.seed, settings.autoencoder, 0.0, progress)


def denoisers(splits: Splits, settings: Settings, progress: Progress) -> dict[str, Trained]:
    """The same but for the squeezed one, trained to find clean images in noisy ones."""
    return _train(("dense", STRIDED, "conv"), splits, settings.seed, settings.denoiser, settings.noise, progress)


def noisy(values: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Pixels [n, 784] with Gaussian noise of a deviation, still from 0 to 1."""
    return (values + noise * torch.empty_like(values).normal_(generator=generator)).clamp(0.0, 1.0)


@torch.no_grad()
def reconstructed(model: Family, values: Tensor) -> Tensor:
    """What a family makes of images [n, 784]; pixels from 0 to 1."""
    parts = [model.predict(_batch(part)).mean.clamp(0.0, 1.0) for part in torch.split(values, _AT_ONCE)]
    return torch.cat(parts)


def _batch(values: Tensor) -> Batch:
    return Pixels(values, torch.full((len(values),), UNKNOWN)).batch()


def _losses(model: Family, values: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """The negative ELBO of images that the encoder sees as they are, or through more noise."""
    blocks = values + _NOISE * torch.empty_like(values).normal_(generator=generator)
    batch = _batch(blocks)
    posterior = model.posterior(batch.with_blocks(noisy(values, noise, generator)) if noise else batch)
    prediction = model.decode(posterior.sample(generator), batch.tensor, nothing_before(blocks))
    return Losses(prediction.nll(blocks), posterior.kl()).total(batch.present, beta=1.0)


def _train(
    names: Sequence[str], splits: Splits, seed: int, schedule: Schedule, noise: float, progress: Progress
) -> dict[str, Trained]:
    models = {name: _build(name, seed) for name in names}
    trainers = [_trainer(model, splits, seed, noise, schedule.steps) for model in models.values()]
    stage = f"{', '.join(names)}{', noisy images' if noise else ''}"
    fit(trainers, replace(schedule, patience=schedule.steps), stage, progress)
    pairs = zip(models.items(), trainers, strict=True)
    return {name: Trained(model, trainer.steps, trainer.seconds) for (name, model), trainer in pairs}


def _build(name: str, seed: int) -> Family:
    return (
        usual_vae("convolutional", LATENT, seed) if name == STRIDED else build_family(name, Sizes(SIZE, LATENT, _HIDDEN), seed)
    )


def _trainer(model: Family, splits: Splits, seed: int, noise: float, steps: int) -> Trainer:
    """Every network sees the same images in the same order; its best state is that of the smallest validation loss."""
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        values = splits.fitted.draw(BATCH_SIZE, generator).values
        return _losses(model, values, noise, generator)

    def validate() -> float:
        fixed = torch.Generator().manual_seed(seed)
        return float(_losses(model, splits.validation.values[:_AT_ONCE], noise, fixed))

    return Trainer(model, _adam(model, steps), loss, validate)


def _adam(model: Family, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A group for each tensor. A variance of all pixels has as far to go as any weight, but no company on its way."""
    groups: list[dict[str, Any]] = []
    for parameter in model.parameters():
        inputs = parameter.shape[1] if parameter.dim() == 2 else 1
        rate = _LEARNING_RATE * min(1.0, _MOST_INPUTS / inputs) if parameter.dim() else _VARIANCE_RATE
        groups.append({"params": [parameter], "lr": rate})
    return torch.optim.lr_scheduler.LinearLR(torch.optim.Adam(groups, fused=True), 1.0, _LAST_RATE, steps)
