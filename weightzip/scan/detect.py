"""One family as a detector: trained on the more ordinary blocks of a checkpoint, asked how odd each block is.
Scanned --ordinary, in runs--> train --predict--> errors of all figures --worst, surprise--> how odd each block is
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.progress import Progress, silent
from weightzip.scan.describe import Scanned, standardised
from weightzip.scan.elements import bend
from weightzip.vae import Blocks, Family, VAESettings, find_family, train

_ORDINARY = 0.95  # share of the blocks, by the mean square of their figures, that a family learns from
_RUN = 32  # successive blocks that are taken together, for families that look at what stands before a block
_EPOCHS, _MOST_COPIES = 2, 20  # with more, a family knows the blocks of a small checkpoint by heart, and finds all others odd
_SCORED = 1024  # blocks at a time
_LATENT = 4
_SMALL = 0.2  # an error that is none, in deviations of its figure
_EXPONENT = 4  # of errors: between their mean square, which one of many hardly moves, and the largest one alone
_SAMPLE = 100_000  # blocks that tell a quantile well enough


@dataclass(frozen=True)
class Budget:
    """Of training. blocks: that it sees, at most. steps: of the optimiser, roughly."""

    blocks: int = 16_384
    steps: int = 300


_SLOW = Budget(blocks=8_192, steps=120)  # where a step takes ten times as long as in the others
_BUDGETS = {"conv": _SLOW, "squeezed": _SLOW}


@dataclass(frozen=True)
class Detector:
    """A trained family. groups: how many it knows."""

    family: Family
    groups: int
    device: torch.device

    @torch.no_grad()
    def errors(self, scanned: Scanned) -> Tensor:
        """By how much each figure of each block is not what the family expects: [n, figures]."""
        blocks = scanned.blocks
        known = Blocks(blocks.values, blocks.tensor.clamp_max(self.groups - 1), blocks.kind).to(self.device)
        errors = torch.zeros_like(blocks.values)
        for numbers, batch in known.in_order(self.family.frames, _SCORED):
            errors[numbers.cpu()] = (batch.blocks - self.family.predict(batch).mean)[batch.present].cpu()
        return errors


def worst(errors: Tensor, scanned: Scanned) -> Tensor:
    """How odd blocks with such errors are, [n]: errors [n, any] against those of their tensor; a single odd figure counts."""
    relative = bend(standardised(errors, scanned.blocks.tensor, scanned.typical, least=_SMALL))
    return surprise(relative.pow(_EXPONENT).mean(1).sqrt(), scanned)


def surprise(raw: Tensor, scanned: Scanned) -> Tensor:
    """Scores [n] of any detector, larger for odder blocks, against what is usual: in all of the checkpoint, and in each tensor.

    The mean of both, each as log(1 + deviations), so that no score drowns another; what is less odd than usual counts as usual.
    """
    groups, column = scanned.blocks.tensor, raw[:, None]
    everywhere = standardised(column, torch.zeros_like(groups), scanned.typical)
    within = standardised(column, groups, scanned.typical)
    return torch.log1p(torch.cat([everywhere, within], dim=1).clamp_min(0)).mean(1)


def fit(scanned: Scanned, name: str, *, seed: int, device: torch.device, progress: Progress = silent) -> Detector:
    """Train a family on a checkpoint's blocks, of which it never sees the worst twentieth."""
    budget = _BUDGETS.get(name, Budget())
    blocks = ordinary(scanned, budget.blocks, seed)
    frames = find_family(name).frames
    batch_size = 64 if frames == 1 else 4
    settings = VAESettings.of(
        name,
        chunk=blocks.values.shape[1],
        latent=_LATENT,
        epochs=_EPOCHS,
        copies=min(_MOST_COPIES, max(1, round(budget.steps * batch_size / (_EPOCHS * len(blocks.lanes(frames)))))),
        validation_copies=1,
        batch_size=batch_size,
        learning_rate=2e-3,
        seed=seed,
    )
    trained, _ = train(blocks, settings, device=device, progress=progress)
    return Detector(trained, blocks.num_tensors, device)


def ordinary(scanned: Scanned, most: int, seed: int) -> Blocks:
    """At most so many blocks, in their order, without the twentieth that lies furthest from the middle."""
    values = scanned.blocks.values
    size = values.square().mean(1)
    typical = size[scanned.typical]
    limit = torch.quantile(typical[:: max(1, len(typical) // _SAMPLE)], _ORDINARY)
    kept = torch.nonzero(scanned.typical & (size <= limit)).flatten()
    runs = torch.arange(len(kept)) // _RUN
    order = torch.randperm(int(runs[-1]) + 1, generator=torch.Generator().manual_seed(seed))
    taken = kept[order[runs] < most // _RUN]
    return Blocks(values[taken], scanned.blocks.tensor[taken], scanned.blocks.kind[taken])
