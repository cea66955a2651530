"""Anomalies: one digit is left out of training; how well the negative ELBO tells it from the other nine in the test images.

With labels: the labelled family knows the digit of every training image. Without, there are two readings: the same network
with none of the labels, or without the classifier, which is the usual VAE. All have a variance of pixels that is learned.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from weightzip.measure.faithful.nets import BATCH_SIZE, LATENT, labelled_vae, rmsprop, usual_vae
from weightzip.measure.faithful.pixels import NUM_DIGITS, Pixels, Splits
from weightzip.measure.faithful.rows import Row
from weightzip.measure.faithful.settings import Settings
from weightzip.measure.faithful.training import Trainer, fit
from weightzip.progress import Progress
from weightzip.vae import Family

PART = "anomaly"
_USUAL, _UNKNOWN, _KNOWN = "usual VAE", "labelled VAE, no labels", "labelled VAE, all labels"
_PUBLISHED = {  # AUC by digit: the first of the source's two figures, and the second
    0: (0.949, 0.969),
    1: (0.47, 0.095),
    2: (0.961, 0.972),
    3: (0.848, 0.902),
    4: (0.708, 0.751),
    5: (0.860, 0.894),
    6: (0.930, 0.960),
    7: (0.669, 0.755),
    8: (0.891, 0.922),
    9: (0.62, 0.677),
}
_PUBLISHED_GAIN = 4.1  # points, of the mean; it is the second figures that are larger
_AT_ONCE = 2_000  # images that are scored together


@dataclass(frozen=True)
class _Run:
    """One training. seconds: of processor time."""

    auc: float
    steps: int
    seconds: float


def anomaly_rows(splits: Splits, settings: Settings, progress: Progress) -> Iterator[Row]:
    """The AUC of every digit in three ways; then the mean gain over the digits, in points, from labels."""
    seeds = (settings.seed,)
    runs: dict[str, list[_Run]] = {name: [] for name in (_USUAL, _UNKNOWN, _KNOWN)}
    for digit in settings.digits:
        first, second = _PUBLISHED[digit]
        for name, published in ((_USUAL, first), (_UNKNOWN, first), (_KNOWN, second)):
            run = _run(splits, settings, digit, name, progress)
            runs[name].append(run)
            yield Row(PART, f"{digit} left out, {name}", "AUC", run.auc, published, seeds, run.steps, run.seconds)
    for name in (_USUAL, _UNKNOWN):
        gains = [100 * (known.auc - other.auc) for known, other in zip(runs[_KNOWN], runs[name], strict=True)]
        both = runs[_KNOWN] + runs[name]
        steps, seconds = sum(run.steps for run in both), sum(run.seconds for run in both)
        setting = f"{_KNOWN}, beyond {name}"
        yield Row(PART, setting, "points of AUC", statistics.fmean(gains), _PUBLISHED_GAIN, seeds, steps, seconds)


def _run(splits: Splits, settings: Settings, digit: int, name: str, progress: Progress) -> _Run:
    fitted, validation = without(splits.fitted, digit), without(splits.validation, digit)
    if name != _KNOWN:
        fitted, validation = fitted.unlabelled(), validation.unlabelled()
    seed = settings.seed
    model = usual_vae("dense", LATENT, seed) if name == _USUAL else labelled_vae("dense", NUM_DIGITS - 1, seed)
    trainer = _trainer(model, fitted, validation, seed)
    fit([trainer], settings.anomaly, f"without {digit}, {name}", progress)
    auc = roc_auc_score((splits.test.labels == digit).numpy(), scores(model, splits.test).numpy())
    return _Run(float(auc), trainer.steps, trainer.seconds)


def without(pixels: Pixels, digit: int) -> Pixels:
    """The images of the other nine digits, whose labels count from 0 to 8."""
    others = pixels.only(pixels.labels != digit)
    return Pixels(others.values, others.labels - (others.labels > digit).long())


@torch.no_grad()
def scores(model: Family, pixels: Pixels) -> Tensor:
    """How odd each image is, [n]; labels do not count."""
    parts = torch.split(torch.arange(len(pixels)), _AT_ONCE)
    return torch.cat([model.score(pixels.only(part).unlabelled().batch()) for part in parts])


def _trainer(model: Family, fitted: Pixels, validation: Pixels, seed: int) -> Trainer:
    """Stopped by the loss on the validation images, whose noise is the same each time.

    The ELBO is that of a whole image, as the family adds it up: it is what images are judged by, so it may outweigh the labels.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        batch = fitted.draw(BATCH_SIZE, generator).batch()
        return model.losses(batch, generator).total(batch.present, beta=1.0)

    def validate() -> float:
        batch = validation.batch()
        return float(model.losses(batch, torch.Generator().manual_seed(seed)).total(batch.present, beta=1.0))

    return Trainer(model, rmsprop(model.parameters()), loss, validate)
