"""What a report holds, before it is drawn or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightzip.report.metric import Metric
from weightzip.report.points import Point
from weightzip.report.study import Study

PAGE, CURVE, POINTS = "report.html", "curve.png", "points.json"


@dataclass(frozen=True)
class StoredFile:
    """Where the bytes of a point's file went: section_bytes sums to point.file_bytes, header included."""

    point: Point
    section_bytes: dict[str, int]


@dataclass(frozen=True)
class Report:
    """Every method on one model and task, and the paper's findings.

    directory: holds report.html, curve.png and points.json. model: the checkpoint's file name. task: its name.
    input_bytes: of all tensors. num_weights: elements of floating-point tensors. original: metric of the checkpoint.
    files: where the bytes went, for the default codec's best file and the paper's. left_out: settings that the task could
    not evaluate, with the reason. device: where VAEs were trained. seconds: of the whole report.
    """

    directory: Path
    model: str
    task: str
    metric: Metric
    input_bytes: int
    num_weights: int
    original: float
    points: tuple[Point, ...]
    files: tuple[StoredFile, ...]
    study: Study
    left_out: tuple[str, ...]
    seed: int
    device: str
    seconds: float

    @property
    def title(self) -> str:
        """What was measured on what."""
        return f"{self.model} on {self.task}"

    @property
    def tolerance(self) -> float:
        """The loss of the metric up to which a setting counts as good."""
        return self.metric.tolerance(self.original)
