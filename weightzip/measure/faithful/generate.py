"""Generation: how far made-up images are from the test images, as the Frechet distance between Gaussians (Heusel et al. 2017).

Fitted to the features of the zoo's lenet-5, its 500 units before the classes, as nothing larger knows images this small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightzip import checkpoint as checkpoints
from weightzip.measure.faithful.autoencode import LATENT, STRIDED, Trained
from weightzip.measure.faithful.pixels import SIDE, Splits
from weightzip.measure.faithful.rows import Row
from weightzip.measure.faithful.settings import Settings
from weightzip.vae import Family
from weightzip.vae.family import nothing_before
from weightzip.zoo import entry

PART = "generate"
_PUBLISHED_RATIO = 3.0  # of a convolutional network's distance to the other's
_AT_ONCE = 500


def generate_rows(splits: Splits, settings: Settings, trained: dict[str, Trained]) -> Iterator[Row]:
    """Distances of the networks' images, and of training images for comparison; then the ratios to the dense one's."""
    features = Features(splits)
    truth = features.of(splits.test.values)
    seeds = (settings.seed,)
    real = frechet(features.of(splits.fitted.first(settings.generated).values), truth)
    yield Row(PART, "training images", "Frechet distance", real, None, seeds, 0, 0.0)
    distances = {}
    for name in ("dense", STRIDED, "conv"):
        item = trained[name]
        images = generated(item.model, settings.generated, torch.Generator().manual_seed(settings.seed))
        distances[name] = frechet(features.of(images), truth)
        setting = f"{name}, {LATENT} latents"
        yield Row(PART, setting, "Frechet distance", distances[name], None, seeds, item.steps, item.seconds)
    for name in (STRIDED, "conv"):
        pair = (trained["dense"], trained[name])
        steps, seconds = sum(item.steps for item in pair), sum(item.seconds for item in pair)
        ratio = distances[name] / distances["dense"]
        yield Row(PART, f"{name} to dense", "ratio", ratio, _PUBLISHED_RATIO, seeds, steps, seconds)


@torch.no_grad()
def generated(model: Family, count: int, generator: torch.Generator) -> Tensor:
    """The means of images [count, 784] decoded from latents of the prior; pixels from 0 to 1."""
    latents = torch.empty(count, model.num_latents).normal_(generator=generator)
    parts = []
    for part in torch.split(latents, _AT_ONCE):
        before = nothing_before(part.new_zeros(len(part), model.sizes.block))
        parts.append(model.decode(part, torch.zeros(len(part), dtype=torch.int64), before).mean)
    return torch.cat(parts).clamp(0.0, 1.0)


class Features:
    """The zoo's lenet-5 up to its last layer, with the weights that it ships with."""

    def __init__(self, splits: Splits) -> None:
        item = entry("lenet-5")
        model = item.build()
        model.load_state_dict(dict(checkpoints.read(item.checkpoint).tensors))
        self._body = nn.Sequential(*list(model.children())[:-1]).eval()
        self._black, self._white = splits.black, splits.white

    @torch.no_grad()
    def of(self, values: Tensor) -> NDArray[np.float64]:
        """The features [n, 500] of images [n, 784]."""
        images = (self._black + values * (self._white - self._black)).view(-1, 1, SIDE, SIDE)
        return torch.cat([self._body(part) for part in torch.split(images, _AT_ONCE)]).double().numpy()


def frechet(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Squared Frechet distance between the Gaussians fitted to features [n, any] and [m, any]: 0 for the same.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); the root's trace is that of (A C2 A)^(1/2) with A A = C1, which is symmetric.
    """
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    energy, axes = np.linalg.eigh(first)
    root = (axes * np.sqrt(energy.clip(0))) @ axes.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(np.square(one.mean(axis=0) - other.mean(axis=0)).sum() + np.trace(first) + np.trace(second) - 2 * cross)
