"""What is found: a row for each figure, beside the one that its source published."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from weightzip.interface import JSON
from weightzip.results import Machine


@dataclass(frozen=True)
class Row:
    """One figure. experiment: a part of the benchmark. setting: what was measured, under which conditions. measure: its unit.

    measured: the mean over the seeds. spread: the standard deviation over them; None for a single seed. published: None where
    the source gives no such figure. steps: of the optimiser, over all seeds. seconds: of processor time, training included.
    """

    experiment: str
    setting: str
    measure: str
    measured: float
    published: float | None
    seeds: tuple[int, ...]
    steps: int
    seconds: float
    spread: float | None = None


@dataclass(frozen=True)
class FamiliesBenchmark:
    """All rows, and what they were measured with. seconds: of processor time of the whole."""

    machine: Machine
    seconds: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, JSON]:
        """With these field names."""
        return asdict(self)
