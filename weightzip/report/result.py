"""What a report holds, before it is drawn or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightzip.report.metric import Metric
from weightzip.results import AUTO, CALIBRATED, FINETUNED, PAPER, Point, Results, StoredFile, Study, by_method, smallest_within

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
    def files(self) -> tuple[StoredFile, ...]:
        """The smallest good file of the default codec (or else its best), of each adaptation, and the paper's own setting."""
        methods = by_method(self.points)
        auto = methods.get(AUTO, [])
        best = smallest_within(auto, self.tolerance) or max(auto, key=lambda point: point.value, default=None)
        smaller = [smallest_within(methods.get(method, []), self.tolerance) for method in (CALIBRATED, FINETUNED)]
        paper = next((point for point in self.points if point.method == PAPER), None)
        return tuple(stored for stored in self.results.files if stored.point in (best, *smaller, paper))
