"""Classification with few labels: the labelled family against its own encoder and classifier trained on the labels alone.

As many labels of each digit, drawn anew for each seed. Both are stopped where the validation images are classified best.
The likelihood is Gaussian, of one variance that is learned.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.measure.faithful.nets import BATCH_SIZE, Network, labelled_vae, loss, rmsprop
from weightzip.measure.faithful.pixels import NUM_DIGITS, Pixels, Splits
from weightzip.measure.faithful.rows import Row
from weightzip.measure.faithful.settings import Schedule, Settings
from weightzip.measure.faithful.training import Trainer, fit
from weightzip.progress import Progress
from weightzip.vae.families.labelled import LabelledVAE, cross_entropy

PART = "semi"
_NETWORKS: tuple[Network, ...] = ("dense", "convolutional")
_PUBLISHED = {  # accuracy by network and number of labels: with the unlabelled images, and without
    ("dense", 100): (0.808, 0.763),
    ("dense", 1_000): (0.935, 0.902),
    ("convolutional", 100): (0.811, 0.765),
    ("convolutional", 1_000): (0.945, 0.890),
}


@dataclass(frozen=True)
class _Run:
    """One training. seconds: of processor time."""

    accuracy: float
    steps: int
    seconds: float


def semi_rows(splits: Splits, settings: Settings, progress: Progress) -> Iterator[Row]:
    """Accuracy on the test images: two rows for each network and number of labels."""
    for network in _NETWORKS:
        for count in settings.labelled:
            runs = [_both(splits, network, count, seed, settings, progress) for seed in settings.semi_seeds]
            published = _PUBLISHED.get((network, count), (None, None))
            for index, name in enumerate(("labelled VAE", "classifier alone")):
                setting = f"{network}, {count:,} labels, {name}"
                yield _row(setting, [pair[index] for pair in runs], published[index], settings.semi_seeds)


def balanced(pixels: Pixels, count: int, generator: torch.Generator) -> Pixels:
    """So many images, as many of each digit, at random."""
    order = torch.randperm(len(pixels), generator=generator)
    each = [order[pixels.labels[order] == digit][: count // NUM_DIGITS] for digit in range(NUM_DIGITS)]
    return pixels.only(torch.cat(each))


@torch.no_grad()
def accuracy(model: LabelledVAE, pixels: Pixels) -> float:
    """The share of images whose most probable label is the right one."""
    return float((model.logits(pixels.batch()).argmax(dim=1) == pixels.labels).float().mean())


def _both(splits: Splits, network: Network, count: int, seed: int, settings: Settings, progress: Progress) -> tuple[_Run, _Run]:
    """The labelled VAE, and its classifier alone, with the same labels and from the same weights."""
    known = balanced(splits.fitted, count, torch.Generator().manual_seed(seed))
    stage = f"{network}, {count:,} labels"
    together, alone = (labelled_vae(network, NUM_DIGITS, seed) for _ in range(2))
    return (
        _run(together, _semi_trainer(together, splits, known, seed), splits, settings.semi, stage, progress),
        _run(alone, _lone_trainer(alone, splits, known, seed), splits, settings.alone, f"{stage}, alone", progress),
    )


def _run(model: LabelledVAE, trainer: Trainer, splits: Splits, schedule: Schedule, stage: str, progress: Progress) -> _Run:
    fit([trainer], schedule, stage, progress)
    return _Run(accuracy(model, splits.test), trainer.steps, trainer.seconds)


def _semi_trainer(model: LabelledVAE, splits: Splits, known: Pixels, seed: int) -> Trainer:
    """Half of each batch labelled, half of it not."""
    generator = torch.Generator().manual_seed(seed)
    unknown = splits.fitted.unlabelled()

    def draw() -> Tensor:
        both = known.draw(BATCH_SIZE // 2, generator).followed_by(unknown.draw(BATCH_SIZE // 2, generator))
        return loss(model, both.batch(), generator)

    return Trainer(model, rmsprop(model.parameters()), draw, lambda: -accuracy(model, splits.validation))


def _lone_trainer(model: LabelledVAE, splits: Splits, known: Pixels, seed: int) -> Trainer:
    """The labelled half of each batch alone, which neither the latents nor the decoder are needed for, nor a warm-up."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        batch = known.draw(BATCH_SIZE // 2, generator).batch()
        return cross_entropy(model.logits(batch), batch.kind)

    parameters = [*model.body.parameters(), *model.pi.parameters()]
    return Trainer(model, rmsprop(parameters, warm_up=1), draw, lambda: -accuracy(model, splits.validation))


def _row(setting: str, runs: Sequence[_Run], published: float | None, seeds: tuple[int, ...]) -> Row:
    found = [run.accuracy for run in runs]
    return Row(
        PART,
        setting,
        "accuracy",
        statistics.fmean(found),
        published,
        seeds,
        sum(run.steps for run in runs),
        sum(run.seconds for run in runs),
        statistics.stdev(found) if len(found) > 1 else None,
    )
