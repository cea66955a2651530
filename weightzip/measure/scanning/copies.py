"""One damaged copy of a checkpoint, scored by every detector that has been fitted to this very copy, as in earnest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.measure.scanning.areas import Areas
from weightzip.measure.scanning.classical import CLASSICAL, classical_surprise
from weightzip.scan.describe import Scanned, describe
from weightzip.scan.ensemble import member_surprises, mix
from weightzip.scan.faults import CLEAN, FAULTS, Damaged
from weightzip.scan.scanning import ENSEMBLE, finished, fit_family, limits_of
from weightzip.vae import FAMILIES

DETECTORS = (*FAMILIES, ENSEMBLE, *CLASSICAL)
_CONSENSUS = 0.01  # share of the blocks that each detector would flag
_AGREEING = 3  # detectors that have to agree
_BEST_FAMILIES = 2  # that vote beside the classical detectors


@dataclass(frozen=True)
class CopyScores:
    """scores: [n] by detector. labels: int64 [n]. flagged: bool [n], by the ensemble. weights: of its members."""

    scores: dict[str, Tensor]
    labels: Tensor
    flagged: Tensor
    weights: dict[str, float]

    def areas(self, detector: str) -> dict[str, Areas | None]:
        """For each kind of fault: its blocks against the clean ones."""
        found: dict[str, Areas | None] = {}
        for number, kind in enumerate(FAULTS):
            counted = (self.labels == CLEAN) | (self.labels == number)
            found[kind] = Areas.of(self.scores[detector][counted], self.labels[counted] == number)
        return found

    def match_general(self) -> dict[str, Areas | None]:
        """Each detector against the consensus: what at least 3 of 6 have among their highest hundredth."""
        mean = {name: Areas.mean(list(self.areas(name).values())) for name in FAMILIES}
        best = sorted(FAMILIES, key=lambda name: -(mean[name] or Areas(0, 0, 0)).auc)[:_BEST_FAMILIES]
        count = max(1, round(_CONSENSUS * len(self.labels)))
        votes = torch.zeros_like(self.labels)
        for name in (*CLASSICAL, *best):
            votes[self.scores[name].topk(count)[1]] += 1
        return {name: Areas.of(scores, votes >= _AGREEING) for name, scores in self.scores.items()}

    @property
    def caught(self) -> dict[str, tuple[int, int]]:
        """Flagged and damaged blocks of each kind."""
        mine = [(kind, self.labels == number) for number, kind in enumerate(FAULTS)]
        return {kind: (int((self.flagged & those).sum()), int(those.sum())) for kind, those in mine}

    @property
    def false_flags(self) -> int:
        """Clean blocks that are flagged."""
        return int((self.flagged & (self.labels == CLEAN)).sum())


def score_copy(damaged: Damaged, seed: int) -> CopyScores:
    """Fit every detector to a damaged copy and ask it."""
    scanned = describe(damaged.tensors)
    fitted = fit_family(damaged.tensors, None, scanned, ENSEMBLE, seed=seed, device=torch.device("cpu"))
    surprises = member_surprises(fitted.detectors, scanned)  # [n, members]
    alone = {name: surprises[:, number] for number, name in enumerate(FAMILIES)}
    scores = {**alone, ENSEMBLE: mix(surprises, torch.tensor([list(fitted.weights.values())]))[0]}
    scores |= {name: classical_surprise(name, scanned, seed) for name in CLASSICAL}
    return _copy_scores({name: finished(raw, scanned) for name, raw in scores.items()}, damaged, scanned, fitted.weights)


def score_against(damaged: Damaged, earlier: Mapping[str, Tensor], seed: int) -> CopyScores:
    """The ensemble alone, on the differences from an earlier checkpoint."""
    scanned = describe(damaged.tensors, earlier)
    fitted = fit_family(damaged.tensors, earlier, scanned, ENSEMBLE, seed=seed, device=torch.device("cpu"))
    return _copy_scores({ENSEMBLE: fitted.scores(scanned)}, damaged, scanned, fitted.weights)


def _copy_scores(scores: dict[str, Tensor], damaged: Damaged, scanned: Scanned, weights: dict[str, float]) -> CopyScores:
    flagged = scores[ENSEMBLE] > limits_of(scores[ENSEMBLE], scanned)
    return CopyScores(scores, damaged.labels, flagged, weights)
