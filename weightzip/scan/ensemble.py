"""All families together: a weighted mean of their surprises, the weights chosen on faults done to the checkpoint itself.

    checkpoint --inject, with seeds of its own--> damaged copies --members--> surprises --grid search--> weights

Members are the families and, for each kind of figures, what all families together get wrong in it: so the weights also say
which figures to trust in this checkpoint.

Nobody needs to label anything: what was damaged is known, as it was done on purpose. Where a foreign block is needed, it comes
from an untrained model of the same shapes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.scan.describe import Groups, Scanned, describe
from weightzip.scan.detect import Detector, worst
from weightzip.scan.faults import CLEAN, FAULTS, inject, untrained
from weightzip.scan.features import FIGURES
from weightzip.scan.ranges import Ranges
from weightzip.vae import FAMILIES

MEMBERS = (*FAMILIES, *FIGURES)
VALIDATION_SEEDS = range(2**20, 2**21)  # of the injected faults; a measurement takes others
_SHARE = 0.03  # of the blocks that are damaged in a copy
_EACH = 48  # damaged blocks of each kind that are wanted in all copies together
_MOST_COPIES = 6
_MOST_ELEMENTS = 600_000  # of the tensors that are damaged; of a larger checkpoint, some tensors stand for all
_PARTS = 4  # weights are multiples of a quarter
_FEWEST_CLEAN = 32  # blocks of a copy, or else it says nothing
_BEST = 0.1  # share of the grid whose mean is taken, as the very best point is best by luck


@dataclass(frozen=True)
class Trial:
    """A damaged copy as the members see it. surprises: [n, members]. labels: int64 [n], as in `faults.Damaged`."""

    surprises: Tensor
    labels: Tensor

    @property
    def tells(self) -> bool:
        """Whether there are enough clean blocks, and any damaged ones, to judge by."""
        clean = int((self.labels == CLEAN).sum())
        return _FEWEST_CLEAN <= clean < len(self.labels)

    def mean_auc(self, weights: Tensor) -> Tensor:
        """The area under the ROC curve of each of the mixtures [m, members], the mean over kinds of faults: [m]."""
        scores = mix(self.surprises, weights)  # [m, n]
        clean = scores[:, self.labels == CLEAN].sort(dim=1)[0]
        areas = []
        for kind in range(len(FAULTS)):
            found = scores[:, self.labels == kind].contiguous()
            if found.shape[1]:
                below = torch.searchsorted(clean, found) + torch.searchsorted(clean, found, right=True)
                areas.append(below.double().mean(1) / (2 * clean.shape[1]))
        return torch.stack(areas).mean(0)


def member_surprises(detectors: Sequence[Detector], scanned: Scanned) -> Tensor:
    """How odd each block is by each family, then by the mean of their errors in each of `FIGURES`: [n, members]."""
    mean, found = torch.zeros_like(scanned.blocks.values), []
    for detector in detectors:
        errors = detector.errors(scanned)
        mean += errors / len(detectors)
        found.append(worst(errors, scanned))
    found += [worst(mean[:, figures], scanned) for figures in FIGURES.values()]
    return torch.stack(found, dim=1)


def mix(surprises: Tensor, weights: Tensor) -> Tensor:
    """The ensemble's scores [m, n] of surprises [n, members] for weights [m, members]."""
    return weights @ surprises.T


def choose_weights(
    tensors: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor] | None,
    detectors: Sequence[Detector],
    *,
    seed: int,
    progress: Progress = silent,
) -> Tensor:
    """The weights [members], sum one, by grid search for the mean area under the ROC curve over kinds of faults."""
    trials = [trial for trial in _trials(tensors, earlier, detectors, seed, progress) if trial.tells]
    if not trials:
        return torch.full((len(MEMBERS),), 1.0 / len(MEMBERS))
    grid = simplex(trials[0].surprises.shape[1], _PARTS)  # [m, members]
    areas = torch.stack([trial.mean_auc(grid) for trial in trials]).mean(0)
    best = torch.argsort(areas, descending=True, stable=True)[: max(1, round(_BEST * len(grid)))]
    return grid[best].mean(0)


def simplex(members: int, parts: int) -> Tensor:
    """All ways to share so many parts among members, [m, members], sum one.

    >>> simplex(2, 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    shares = itertools.combinations_with_replacement(range(members), parts)
    counts = [[share.count(member) for member in range(members)] for share in shares]
    return torch.tensor(counts, dtype=torch.float32) / parts


def _trials(
    tensors: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor] | None,
    detectors: Sequence[Detector],
    seed: int,
    progress: Progress,
) -> list[Trial]:
    sample = _sample(tensors, seed)
    ranges = Ranges.of(sample)
    groups = Groups.of(Ranges.of(tensors))
    copies = min(_MOST_COPIES, math.ceil(_EACH * len(FAULTS) / (_SHARE * len(ranges))))
    trials = []
    for copy in range(copies):
        progress(ProgressEvent("choosing weights", copy, copies))
        own = VALIDATION_SEEDS[(seed * _MOST_COPIES + copy) % len(VALIDATION_SEEDS)]
        damaged = inject(sample, untrained(sample, own), share=_SHARE, seed=own)
        scanned = describe(damaged.tensors, earlier, groups)
        trials.append(Trial(member_surprises(detectors, scanned), torch.where(scanned.unchanged, CLEAN, damaged.labels)))
    return trials


def _sample(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Whole floating-point tensors, drawn at random, as long as they fit in, and the smallest matrix in any case."""
    names = list(Ranges.of(tensors).names)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    left, taken = _MOST_ELEMENTS, set()
    for name in (names[number] for number in order):
        if tensors[name].numel() <= left:
            taken.add(name)
            left -= tensors[name].numel()
    matrices = [name for name in names if tensors[name].dim() > 1] or names
    smallest = min(matrices, key=lambda name: tensors[name].numel())
    if not taken & set(matrices):
        taken.add(smallest)
    return {name: tensors[name] for name in names if name in taken}
