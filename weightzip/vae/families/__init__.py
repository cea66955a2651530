"""The families: one file for each, and one line for each in the table below. Their interface is `weightzip.vae.family`."""

from __future__ import annotations

import difflib
import importlib
from typing import cast

import torch

from weightzip.errors import UsageError
from weightzip.vae.family import Family, Sizes

_CLASSES = {  # by name, which is also that of their module
    "dense": "DenseVAE",
    "conv": "ConvVAE",
    "squeezed": "SqueezedVAE",
    "heteroskedastic": "HeteroskedasticVAE",
    "conditioned": "ConditionedAE",
    "labelled": "LabelledVAE",
    "causal": "CausalPredictor",
}
FAMILIES = tuple(_CLASSES)


def find_family(name: str) -> type[Family]:
    """The family of this name. Raises UsageError, with a suggestion, where there is none."""
    if name not in _CLASSES:
        close = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"unknown family {name!r}; {hint}use one of {', '.join(_CLASSES)}")
    return cast(type[Family], getattr(importlib.import_module(f"{__name__}.{name}"), _CLASSES[name]))


def build_family(name: str, sizes: Sizes, seed: int = 0) -> Family:
    """A family's networks, initialised from a seed, on the CPU; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation would move the global generator
        return find_family(name)(sizes, torch.Generator().manual_seed(seed))
