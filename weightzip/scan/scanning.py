"""A scan from beginning to end: read, describe, fit, choose weights, flag.

model, earlier one --describe--> Scanned --fit--> detectors --choose_weights--> Fitted --limits--> ScanResult
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from weightzip import checkpoint as checkpoints
from weightzip import restoring
from weightzip.devices import resolve_device
from weightzip.errors import CheckpointError, UsageError
from weightzip.interface import JSON
from weightzip.progress import Meter, Progress, ProgressEvent, silent
from weightzip.scan.describe import Scanned, describe
from weightzip.scan.detect import Detector, fit, worst
from weightzip.scan.elements import in_blocks
from weightzip.scan.ensemble import MEMBERS, choose_weights, member_surprises, mix
from weightzip.scan.ranges import Ranges
from weightzip.scan.threshold import FEWEST, limits
from weightzip.threads import limited_threads
from weightzip.vae import FAMILIES

ENSEMBLE = "ensemble"
HOPELESS = 100.0  # the score of a block with elements that are not finite, which no other reaches
Source = str | Path | nn.Module | Mapping[str, object]

# Roughly what each family's training takes, and then their choice; for a progress bar.
_SECONDS = {
    "dense": 4.0,
    "conv": 6.0,
    "squeezed": 5.0,
    "heteroskedastic": 0.8,
    "conditioned": 0.9,
    "labelled": 0.8,
    "causal": 2.0,
}
_CHOOSING_SECONDS = 7.0


@dataclass(frozen=True)
class Flag:
    """A block that does not belong: elements start to end - 1 of the flattened tensor, and how odd they are.

    limit: the score above which a block of this tensor is flagged.
    """

    tensor: str
    start: int
    end: int
    score: float
    limit: float


@dataclass(frozen=True)
class ScanResult:
    """What was found. flagged: worst first. family: whose scores they are. weights: of the ensemble's members in them.

    ranges, scores [n], limits [n]: of all blocks, in order; limits are infinite where there are too few blocks to tell. notes:
    what else there is to say, a sentence each.
    """

    flagged: tuple[Flag, ...]
    family: str
    weights: dict[str, float]
    ranges: Ranges
    scores: Tensor
    limits: Tensor
    notes: tuple[str, ...]

    @property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.ranges)

    def to_json(self) -> dict[str, JSON]:
        """As `weightzip scan --json` prints it."""
        flagged = [asdict(flag) for flag in self.flagged]
        about = {"family": self.family, "weights": self.weights, "notes": list(self.notes)}
        return {"blocks": self.blocks, "flagged": flagged, **about}


@dataclass(frozen=True)
class Fitted:
    """Detectors for one checkpoint: a single one, or the ensemble. weights: by member, sum one."""

    detectors: tuple[Detector, ...]
    weights: dict[str, float]

    def scores(self, scanned: Scanned) -> Tensor:
        """How odd each block is, [n]; zero where nothing changed, `HOPELESS` where something is not finite."""
        if len(self.detectors) == 1:
            return finished(worst(self.detectors[0].errors(scanned), scanned), scanned)
        weights = torch.tensor([list(self.weights.values())])
        return finished(mix(member_surprises(self.detectors, scanned), weights)[0], scanned)


def finished(scores: Tensor, scanned: Scanned) -> Tensor:
    """Scores [n] with what needs no detector: nothing changed, or something is not finite."""
    return scores.masked_fill(scanned.unchanged, 0.0).masked_fill(scanned.hopeless, HOPELESS)


def scan(
    model: Source,
    against: Source | None = None,
    family: str = ENSEMBLE,
    *,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> ScanResult:
    """Find blocks of weights that do not belong where they are.

    model: a checkpoint's path, a .wz file, a state dict or a module. against: an earlier one of the same tensors; then the
    differences are scanned. family: one of `FAMILIES`, or "ensemble". Raises a WeightzipError.
    """
    check_family(family)
    place = torch.device(resolve_device(device))
    with limited_threads(threads):
        tensors = read_tensors(model)
        earlier, notes = (None, []) if against is None else _matching(tensors, read_tensors(against))
        if earlier is not None:
            tensors = {name: tensor for name, tensor in tensors.items() if name in earlier}
        return _scan(tensors, earlier, family, notes, seed, place, progress)


def check_family(family: str) -> None:
    """Raise UsageError, with a suggestion, for a name that is neither a family's nor the ensemble's."""
    known = (ENSEMBLE, *FAMILIES)
    if family not in known:
        close = difflib.get_close_matches(family, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"unknown family {family!r}; {hint}use one of {', '.join(known)}")


def fit_family(
    tensors: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor] | None,
    scanned: Scanned,
    family: str,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> Fitted:
    """Train one family, or all and their weights."""
    names = FAMILIES if family == ENSEMBLE else (family,)
    meter = Meter(progress, sum(_SECONDS[name] for name in names) + (_CHOOSING_SECONDS if len(names) > 1 else 0.0))
    detectors = []
    for name in names:
        with meter.job(f"training {name}", _SECONDS[name]):
            detectors.append(fit(scanned, name, seed=seed, device=device))
    if len(names) == 1:
        return Fitted(tuple(detectors), {family: 1.0})
    with meter.job("choosing weights", _CHOOSING_SECONDS) as inner:
        weights = choose_weights(tensors, earlier, detectors, seed=seed, progress=inner)
    return Fitted(tuple(detectors), dict(zip(MEMBERS, weights.tolist(), strict=True)))


def read_tensors(source: Source) -> dict[str, Tensor]:
    """The distinct tensors of a checkpoint, by name; those of a .wz file have the same names. Raises a WeightzipError."""
    if not isinstance(source, (str, Path)):
        plain = dict(source) if isinstance(source, Mapping) else source
        return checkpoints.from_object(plain).tensors
    if not restoring.is_packed(Path(source)):
        return checkpoints.read(source).tensors
    with restoring.opened(source) as opened:
        opened.check_kept(None)  # before anything is decoded
        return dict(opened.parts(silent))


def _scan(
    tensors: Mapping[str, Tensor],
    earlier: Mapping[str, Tensor] | None,
    family: str,
    notes: Sequence[str],
    seed: int,
    device: torch.device,
    progress: Progress,
) -> ScanResult:
    ranges = Ranges.of(tensors)
    if len(ranges) < FEWEST:
        return _too_few(tensors, ranges, family, notes)
    progress(ProgressEvent("looking at the blocks", 0, 1))
    scanned = describe(tensors, earlier)
    fitted = fit_family(tensors, earlier, scanned, family, seed=seed, device=device, progress=progress)
    scores = fitted.scores(scanned)
    return _result(ranges, scores, limits_of(scores, scanned), family, fitted.weights, notes)


def limits_of(scores: Tensor, scanned: Scanned) -> Tensor:
    """Of each block [n], told by the changed blocks where changes are usual, else by all that are finite."""
    changed = scanned.typical & ~scanned.unchanged
    usual = changed if int(changed.sum()) >= FEWEST else ~scanned.hopeless
    return limits(scores, scanned.blocks.tensor, usual).masked_fill(scanned.hopeless, HOPELESS / 2)


def _too_few(tensors: Mapping[str, Tensor], ranges: Ranges, family: str, notes: Sequence[str]) -> ScanResult:
    """Numbers that are not finite are flagged all the same."""
    found = "there are no floating-point weights" if not len(ranges) else f"{len(ranges)} blocks of weights are too few"
    note = f"{found} to tell what is usual, at least {FEWEST} are needed; only numbers that are not finite are flagged"
    lost = [~in_blocks(torch.isfinite(tensors[name].detach().double())).all(1) for name in ranges.names]
    scores = HOPELESS * torch.cat(lost).float() if lost else torch.zeros(0)
    above = torch.full_like(scores, math.inf).masked_fill(scores > 0, HOPELESS / 2)
    return _result(ranges, scores, above, family, {}, [*notes, note])


def _result(
    ranges: Ranges, scores: Tensor, above: Tensor, family: str, weights: dict[str, float], notes: Sequence[str]
) -> ScanResult:
    oddest = torch.argsort(scores, descending=True, stable=True)
    flagged = []
    for block in oddest[scores[oddest] > above[oddest]].tolist():
        name, start, end = ranges.names[int(ranges.tensor[block])], int(ranges.start[block]), int(ranges.end[block])
        flagged.append(Flag(name, start, end, float(scores[block]), float(above[block])))
    return ScanResult(tuple(flagged), family, weights, ranges, scores, above, tuple(notes))


def _matching(tensors: Mapping[str, Tensor], earlier: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Those of the earlier tensors that can be compared, and what is to be said of the others."""
    names = Ranges.of(tensors).names
    both = {
        name: earlier[name]
        for name in names
        if name in earlier and earlier[name].shape == tensors[name].shape and earlier[name].is_floating_point()
    }
    if names and not both:
        raise CheckpointError(
            "the two checkpoints have no tensor of the same name and shape in common; nothing can be compared"
        )
    left = ", ".join(name for name in names if name not in both)
    return both, [f"left out, as the earlier checkpoint has no tensor of that name and shape: {left}"] if left else []
