"""The measurement: checkpoints, several damaged copies of each, all detectors, and the clean checkpoints besides.

The seeds of the faults are disjoint from those by which the ensemble chooses its weights and its threshold.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from torch import Tensor

import weightzip
from weightzip.errors import UsageError
from weightzip.interface import JSON
from weightzip.measure.machine import library_versions, machine_kind
from weightzip.measure.scanning.areas import Areas
from weightzip.measure.scanning.copies import DETECTORS, CopyScores, score_against, score_copy
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.results import Machine
from weightzip.scan.ensemble import VALIDATION_SEEDS
from weightzip.scan.faults import FAULTS, inject
from weightzip.scan.ranges import Ranges
from weightzip.scan.scanning import ENSEMBLE, read_tensors, scan
from weightzip.scan.threshold import FEWEST
from weightzip.threads import limited_threads

TEST_SEEDS = range(VALIDATION_SEEDS.start)  # of the injected faults
SHARE = 0.01  # of the blocks that are damaged
_EACH = 30  # damaged blocks of each kind that are wanted in all copies together
_MOST_COPIES = 12

AreasByKind = dict[str, dict[str, JSON] | None]
Told = Callable[[str], None]


@dataclass(frozen=True)
class ScannedCheckpoint:
    """What was measured on one checkpoint; areas are means over its copies.

    areas: by detector and kind of fault. match_general: by detector, against the detectors' consensus. against: by kind of
    fault, of the ensemble, when the checkpoint's own .wz file at the default quality is the earlier one. caught: by kind of
    fault, flagged and damaged blocks. false_flags: clean blocks of damaged copies that were flagged. clean_flagged: flagged
    blocks of the clean checkpoint. weights: of the ensemble's members, for the first copy.
    """

    source: str
    foreign: str
    blocks: int
    copies: int
    areas: dict[str, AreasByKind]
    match_general: AreasByKind
    against: AreasByKind
    caught: dict[str, tuple[int, int]]
    false_flags: int
    against_caught: dict[str, tuple[int, int]]
    against_false_flags: int
    clean_flagged: int
    clean_seconds: float
    weights: dict[str, float]


@dataclass(frozen=True)
class ScanBenchmark:
    """All checkpoints. date: of the beginning, ISO 8601 in UTC. seconds: of all of it. share: of the blocks, damaged."""

    machine: Machine
    date: str
    seconds: float
    threads: int
    share: float
    first_seed: int
    checkpoints: tuple[ScannedCheckpoint, ...]

    def to_json(self) -> dict[str, JSON]:
        """With these field names."""
        return asdict(self)


def measure_scan(
    paths: Sequence[Path], *, seed: int = 0, threads: int | None = 1, progress: Progress = silent
) -> ScanBenchmark:
    """Measure on at least two checkpoints, each of which lends foreign blocks to the one before it. Raises a WeightzipError."""
    if len(paths) < 2:
        raise UsageError("the comparison of scans takes at least two checkpoints, as each lends foreign blocks to another one")
    start, date = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = []
    with limited_threads(threads):
        for number, path in enumerate(paths):
            foreign = paths[(number + 1) % len(paths)]

            def told(detail: str, number: int = number, name: str = path.name) -> None:
                progress(ProgressEvent("measuring scans", number, len(paths), f"{name}: {detail}"))

            found.append(_Series(path, foreign, seed).measure(told))
    machine = Machine(machine_kind(), library_versions())
    return ScanBenchmark(machine, date, time.monotonic() - start, threads or 0, SHARE, seed_of_copy(seed, 0), tuple(found))


@dataclass(frozen=True)
class _Series:
    """All copies of one checkpoint."""

    path: Path
    foreign: Path
    seed: int

    def measure(self, told: Told) -> ScannedCheckpoint:
        tensors, foreign = read_tensors(self.path), read_tensors(self.foreign)
        blocks = len(Ranges.of(tensors))
        if blocks < FEWEST:
            raise UsageError(f"{self.path}: {blocks} blocks of weights are too few to measure, at least {FEWEST} are needed")
        copies = min(_MOST_COPIES, math.ceil(_EACH * len(FAULTS) / (SHARE * blocks)))
        scored = []
        for copy in range(copies):
            told(f"damaged copy {copy + 1} of {copies}")
            scored.append(score_copy(inject(tensors, foreign, share=SHARE, seed=self._seed(copy)), self.seed))
        told("against its own .wz file")
        against = score_against(inject(tensors, foreign, share=SHARE, seed=self._seed(0)), _own_wz(self.path), self.seed)
        told("clean")
        start = time.monotonic()
        clean = scan(tensors, seed=self.seed)
        return ScannedCheckpoint(
            source=self.path.name,
            foreign=self.foreign.name,
            blocks=blocks,
            copies=copies,
            areas={name: _mean([each.areas(name) for each in scored]) for name in DETECTORS},
            match_general=_mean([each.match_general() for each in scored]),
            against=_mean([against.areas(ENSEMBLE)]),
            caught=_caught(scored),
            false_flags=sum(each.false_flags for each in scored),
            against_caught=_caught([against]),
            against_false_flags=against.false_flags,
            clean_flagged=len(clean.flagged),
            clean_seconds=time.monotonic() - start,
            weights=scored[0].weights,
        )

    def _seed(self, copy: int) -> int:
        return seed_of_copy(self.seed, copy)


def seed_of_copy(seed: int, copy: int) -> int:
    """Of the faults in a copy."""
    return TEST_SEEDS[(seed * _MOST_COPIES + copy) % len(TEST_SEEDS)]


def _own_wz(path: Path) -> Mapping[str, Tensor]:
    """What the checkpoint's .wz file at the default quality holds."""
    with tempfile.TemporaryDirectory(prefix="weightzip-") as folder:
        packed = Path(folder) / "model.wz"
        weightzip.compress(path, packed)
        return read_tensors(packed)


def _mean(found: Sequence[Mapping[str, Areas | None]]) -> AreasByKind:
    """The mean over copies, by the keys of each."""
    means = {key: Areas.mean([each[key] for each in found]) for key in found[0]}
    return {key: None if areas is None else areas.to_json() for key, areas in means.items()}


def _caught(scored: Sequence[CopyScores]) -> dict[str, tuple[int, int]]:
    counts = {kind: [each.caught[kind] for each in scored] for kind in FAULTS}
    return {kind: (sum(hit for hit, _ in pairs), sum(all_ for _, all_ in pairs)) for kind, pairs in counts.items()}
