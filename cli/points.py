"""Points of accuracy against size, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from weightzip.cli.describe import LATENTS_ONLY, WHOLE_FILE, new_table, times

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.report import Point


def points_table(title: str, metric: str, groups: Iterable[Iterable[Point]], first: str = "method") -> Table:
    """A row for each point, with a rule between groups; both accountings in neighbouring columns."""
    latents_only = LATENTS_ONLY.replace(" (", "\n(")
    table = new_table(first, "setting", "bytes", WHOLE_FILE, latents_only, metric, "drop", title=title)
    for group in groups:
        for point in group:
            table.add_row(
                point.method,
                point.setting,
                f"{point.file_bytes:,}",
                times(point.ratio),
                times(point.latent_ratio) if point.latent_ratio is not None else "-",
                f"{point.value:.2f}",
                f"{point.original - point.value:+.2f}",
            )
        table.add_section()
    return table


def best_points(points: Iterable[Point], tolerance: float) -> Iterator[Point]:
    """Of each method the smallest file that loses at most `tolerance` of the metric, or else its most accurate one."""
    from weightzip.report.points import by_method, smallest_within

    for own in by_method(points).values():
        yield smallest_within(own, tolerance) or max(own, key=lambda point: point.value)
