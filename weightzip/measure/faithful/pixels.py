"""MNIST as blocks: pixels between 0 and 1, and the splits that all parts use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.measure.faithful.settings import Settings
from weightzip.vae import UNKNOWN, Batch, Blocks
from weightzip.zoo.data import Images, mnist

SIDE = 28
SIZE = SIDE * SIDE
NUM_DIGITS = 10


@dataclass(frozen=True)
class Pixels:
    """Images. values: float32 [n, 784], from 0 to 1. labels: int64 [n], UNKNOWN where a network is not to know it."""

    values: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Tensor) -> Pixels:
        """Some of the images: a mask [n], or their numbers."""
        return Pixels(self.values[chosen], self.labels[chosen])

    def first(self, count: int) -> Pixels:
        """The first so many."""
        return Pixels(self.values[:count], self.labels[:count])

    def draw(self, count: int, generator: torch.Generator) -> Pixels:
        """So many at random, each independent of the others."""
        return self.only(torch.randint(len(self), (count,), generator=generator))

    def unlabelled(self) -> Pixels:
        """The same images, of which nothing is known."""
        return Pixels(self.values, torch.full_like(self.labels, UNKNOWN))

    def followed_by(self, others: Pixels) -> Pixels:
        """These images, then the others."""
        return Pixels(torch.cat([self.values, others.values]), torch.cat([self.labels, others.labels]))

    def batch(self) -> Batch:
        """All of them as the families see blocks, with the label as their kind."""
        blocks = Blocks(self.values, torch.zeros_like(self.labels), self.labels)
        return blocks.batch(blocks.lanes(1))


@dataclass(frozen=True)
class Splits:
    """fitted: what networks are trained on. validation: what decides when to stop. test: what is reported, and nothing else.

    black, white: the values that the zoo's own networks expect for pixels of 0 and of 1.
    """

    fitted: Pixels
    validation: Pixels
    test: Pixels
    black: float
    white: float

    @staticmethod
    def of(settings: Settings) -> Splits:
        """The first images of MNIST's training set, those behind them, and the first of its test set."""
        training = mnist(train=True)
        black, white = float(training.images.min()), float(training.images.max())
        known = _pixels(training, settings.fitted + settings.validation, black, white)
        fitted, validation = known.first(settings.fitted), known.only(torch.arange(settings.fitted, len(known)))
        return Splits(fitted, validation, _pixels(mnist(train=False), settings.test, black, white), black, white)


def _pixels(images: Images, count: int, black: float, white: float) -> Pixels:
    scaled = (images.images[:count].flatten(1) - black) / (white - black)  # [count, 784]
    return Pixels(torch.round(scaled * 255) / 255, images.labels[:count])
