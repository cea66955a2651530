"""Points of accuracy against size, as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from weightzip.cli.describe import LATENTS_ONLY, WHOLE_FILE, new_table, times

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.metric import Metric
    from weightzip.results import Point


def points_table(title: str, groups: Iterable[Iterable[Point]], metric: Metric, first: str = "method") -> Table:
    """A row for each point, with a rule between groups; where there are latents, both accountings side by side."""
    rows = [list(group) for group in groups]
    has_latents = any(point.latent_ratio is not None for group in rows for point in group)
    latents_only = [LATENTS_ONLY.replace(" (", "\n(").replace("'s ", "'s\n")] if has_latents else []
    table = new_table(first, "setting", "bytes", WHOLE_FILE, *latents_only, "metric", "drop", texts=2, title=title)
    for group in rows:
        for point in group:
            latents = [times(point.latent_ratio) if point.latent_ratio is not None else "-"] if has_latents else []
            sizes = [f"{point.file_bytes:,}", times(point.ratio), *latents]
            drop = metric.format_change(point.original - point.value)
            table.add_row(point.method, point.setting, *sizes, metric.format(point.value).removesuffix("%"), drop)
        table.add_section()
    return table


def best_points(points: Iterable[Point], tolerance: float) -> list[Point]:
    """Of each method the smallest file that loses at most `tolerance` of the metric; the smallest of them first."""
    from weightzip.results import by_method, smallest_within

    best = [smallest_within(own, tolerance) for own in by_method(points).values()]
    return sorted((point for point in best if point is not None), key=lambda point: point.file_bytes)
