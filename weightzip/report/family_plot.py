"""The picture of the families' report: where equal bytes went, and what was left of the metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from weightzip.metric import Metric
from weightzip.report.style import Theme, plain
from weightzip.results import FamilyRow

_PARTS = (("decoder", "#d1520a"), ("latents", "#b8860b"), ("residuals", "#0067b1"), ("the rest", "#9aa7b4"))
_KILO = 1000


def draw_families(rows: Sequence[FamilyRow], title: str, metric: Metric, theme: Theme) -> Figure:
    """Bytes of every family's file by section, and beside them the metric of what it restores."""
    figure = Figure(figsize=(9.6, 1.6 + 0.42 * len(rows)), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for axes in (left, right):
        plain(axes, theme, "x")
    _draw_bytes(left, rows, theme)
    _draw_values(right, rows, metric, theme)
    left.set_yticks(range(len(rows)), [row.family for row in rows], color=theme.ink, fontsize=10)
    left.invert_yaxis()
    figure.suptitle(title, color=theme.ink, fontsize=11, parse_math=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, labelcolor=theme.ink)
    return figure


def _draw_bytes(axes: Axes, rows: Sequence[FamilyRow], theme: Theme) -> None:
    places, starts = np.arange(len(rows)), np.zeros(len(rows))
    parts = np.array([_sizes(row) for row in rows], np.float64) / _KILO  # [rows, parts]
    for (label, colour), sizes in zip(_PARTS, parts.T, strict=True):
        axes.barh(places, sizes, left=starts, color=colour, label=label, height=0.62)
        starts = starts + sizes
    for place, row in enumerate(rows):
        if row.file_bytes is None:
            note = " its decoder alone is over the size"
            axes.text(starts[place], place, note, color=theme.muted, fontsize=8.5, va="center")
    axes.set_xlabel("bytes of the whole file, thousands", color=theme.ink, fontsize=10)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_values(axes: Axes, rows: Sequence[FamilyRow], metric: Metric, theme: Theme) -> None:
    axes.axvline(rows[0].original, color=theme.ink, linewidth=1, linestyle=(0, (5, 4)))
    for place, row in enumerate(rows):
        if row.value is None or row.relative_mse is None:
            continue
        axes.plot([row.value], [place], marker="o", markersize=8, color=_PARTS[2][1], linestyle="none")
        note = f"{metric.format(row.value)}, relative mse {row.relative_mse:.3f}"
        axes.annotate(
            note, (row.value, place), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8, color=theme.ink
        )
    axes.margins(x=0.35)
    axes.set_xlabel(f"{metric.label}; dashed: original", color=theme.ink, fontsize=10, parse_math=False)


def _sizes(row: FamilyRow) -> tuple[int, int, int, int]:
    known = (row.decoder_bytes, row.latent_bytes, row.residual_bytes)
    return (*known, max(0, (row.file_bytes or 0) - sum(known)))
