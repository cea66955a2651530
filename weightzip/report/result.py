"""What a report holds, before it is drawn or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightzip.metric import Metric
from weightzip.results import (
    AUTO,
    CALIBRATED,
    FINETUNED,
    LOSSLESS,
    OWN,
    PAPER,
    Point,
    Results,
    StoredFile,
    Study,
    by_method,
    smallest_within,
)

PAGE, CURVE, POINTS = "report.html", "curve.png", "points.json"
FILES = (PAGE, CURVE, POINTS)
KEPT = "files"  # the folder of the points' own files, where they are kept


@dataclass(frozen=True)
class Report:
    """Every method on one model and task, and the paper's findings.

    directory: holds report.html, curve.png and points.json. model: the checkpoint's file name. task: its name.
    device: where VAEs were trained. seconds: of the whole report.
    """

    directory: Path
    model: str
    task: str
    metric: Metric
    results: Results
    seed: int
    device: str
    seconds: float

    @property
    def title(self) -> str:
        """What was measured on what."""
        return f"{self.model} on {self.task}"

    @property
    def points(self) -> tuple[Point, ...]:
        """Every method at each of its settings."""
        return tuple(stored.point for stored in self.results.files)

    @property
    def original(self) -> float:
        """The metric of the checkpoint itself."""
        return self.results.original

    @property
    def study(self) -> Study:
        """The paper's findings, repeated."""
        return self.results.study

    @property
    def left_out(self) -> tuple[str, ...]:
        """Settings that the task could not evaluate, with the reason."""
        return self.results.left_out

    @property
    def tolerance(self) -> float:
        """The loss of the metric up to which a setting counts as good."""
        return self.metric.tolerance(self.original)

    @property
    def lossy(self) -> tuple[Point, ...]:
        """Those of this package's lossy methods."""
        return tuple(point for point in self.points if point.method in OWN and point.method != LOSSLESS)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Files whose bytes are told: the smallest good one, and that of the default codec and of each adaptation.

        Where none of a method is good, its best; of the paper's method always its own setting. Lossless where nothing else is.
        """
        methods, paper = by_method(self.lossy), [point for point in self.lossy if point.method == PAPER]
        best = [self._best(methods.get(method, [])) for method in (AUTO, CALIBRATED, FINETUNED)]
        lossless = [point for point in self.points if point.method == LOSSLESS and not self.lossy]
        told = (smallest_within(self.lossy, self.tolerance), *best, *paper[:1], *lossless)
        return tuple(stored for stored in self.results.files if stored.point in told)

    def _best(self, points: Sequence[Point]) -> Point | None:
        return smallest_within(points, self.tolerance) or max(points, key=lambda point: point.value, default=None)
