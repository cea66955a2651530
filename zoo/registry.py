"""What is in the zoo: one entry for every reference model, readable without torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightzip.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

_CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam without weight decay or augmentation, one cycle of the learning rate.

    clip_norm: the gradient's norm is cut to this; None leaves the gradient as it is.
    """

    epochs: int
    batch_size: int = 128
    peak_learning_rate: float = 2e-3
    clip_norm: float | None = None


@dataclass(frozen=True)
class Entry:
    """One reference model.

    num_weights: trainable parameters.
    accuracy: of the shipped checkpoint on the 10,000 test images, in percent.
    """

    name: str
    num_weights: int
    accuracy: float
    recipe: Recipe

    @property
    def checkpoint(self) -> Path:
        """The trained weights that ship with the package: safetensors, float32, keys of the module's state dict."""
        return _CHECKPOINTS / f"{self.name}.safetensors"

    def build(self) -> nn.Module:
        """The module, freshly initialised from torch's global random state."""
        from weightzip.zoo.models import build

        return build(self.name)


_ENTRIES = {
    item.name: item
    for item in (
        Entry("mnist-fnn", 185_300, 98.38, Recipe(epochs=15)),
        Entry("mnist-cnn", 122_270, 99.11, Recipe(epochs=15, peak_learning_rate=4e-3)),
        Entry("mnist-rnn", 54_538, 98.31, Recipe(epochs=20, clip_norm=1.0)),
        Entry("mnist-lstm", 214_282, 99.17, Recipe(epochs=15, peak_learning_rate=4e-3, clip_norm=1.0)),
        Entry("lenet-300-100", 266_610, 98.46, Recipe(epochs=15, batch_size=64)),
        Entry("lenet-5", 431_080, 99.45, Recipe(epochs=12)),
    )
}


def names() -> tuple[str, ...]:
    """The names of all models: the four of Cheng et al. (2024) first.

    >>> names()[0]
    'mnist-fnn'
    """
    return tuple(_ENTRIES)


def entry(name: str) -> Entry:
    """The entry called `name`. Raises UsageError, with a suggestion, where there is none.

    >>> entry("mnist-fnn").num_weights
    185300
    """
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"{name!r}: no such model in the zoo; {hint}choose from {', '.join(_ENTRIES)}")
    return _ENTRIES[name]
