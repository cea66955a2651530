"""The curve: a task's metric against the ratio of the whole file, every method in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from weightzip.errors import UsageError
from weightzip.report.metric import Metric
from weightzip.report.style import LIGHT, Theme, method_style, new_axes, save_png
from weightzip.results import Point, by_method

_SHOWN_TOLERANCES = 3  # how far below the original the curve shows; what falls deeper has failed anyway
_RATIO_TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000)


def plot_points(points: Sequence[Point], path: str | Path, title: str, *, metric: str = "metric") -> None:
    """Draw metric against ratio to a PNG file. metric: what the task calls it, with its unit.

    Raises UsageError where there is no point to draw.
    """
    save_png(draw_points(points, title, Metric(metric), LIGHT), Path(path))


def draw_points(points: Sequence[Point], title: str, metric: Metric, theme: Theme) -> Figure:
    """The curve: a line per method; the paper's own accounting hollow beside the whole file it stands for."""
    if not points:
        raise UsageError("there is no point to draw")
    figure, axes = new_axes(theme, 9.0, 6.4)
    window = _Window.of(points, metric)
    _draw_original(axes, points[0].original, metric, window, theme)
    for position, (method, own) in enumerate(by_method(points).items()):
        _draw_method(axes, method, own, position, theme)
    _draw_latents_only(axes, points, window, theme)
    _label_axes(axes, metric, window, theme)
    if title:
        axes.set_title(title, color=theme.ink, fontsize=12, fontweight="bold", loc="left", pad=12, parse_math=False)
    legend = figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False, handlelength=3)
    for text in legend.get_texts():
        text.set_color(theme.ink)
        text.set_parse_math(False)  # a dollar sign is a dollar sign
    return figure


@dataclass(frozen=True)
class _Window:
    """What the axes show: ratios from left to right, values from bottom to top; clipped where something lies below."""

    left: float
    right: float
    bottom: float
    top: float
    clipped: bool

    @staticmethod
    def of(points: Sequence[Point], metric: Metric) -> _Window:
        original = points[0].original
        tolerance = metric.tolerance(original)
        floor = original - _SHOWN_TOLERANCES * tolerance
        shown = [point for point in points if point.value >= floor] or list(points)
        lowest = min(point.value for point in shown)
        highest = max(original, *(point.value for point in shown))
        ratios = [ratio for point in shown for ratio in (point.ratio, point.latent_ratio) if ratio]
        return _Window(
            left=min(1.0, *ratios) / 1.08,
            right=max(2.0, *ratios) * 1.25,
            bottom=min(lowest, original - 2 * tolerance) - 0.25 * tolerance,
            top=highest + 0.55 * tolerance,
            clipped=len(shown) < len(points),
        )


def _draw_original(axes: Axes, original: float, metric: Metric, window: _Window, theme: Theme) -> None:
    """The original's value as a line, and below it a band: losses that count as small."""
    tolerance = metric.tolerance(original)
    axes.axhspan(original - tolerance, original, color=theme.band, linewidth=0, zorder=0)
    axes.axhline(original, color=theme.ink, linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    labels = (
        (original, f"original {metric.format(original)}"),
        (original - tolerance, f"up to {metric.tolerance_words(original)} lost"),
    )
    for height, label in labels:
        axes.text(
            window.right / 1.03, height + 0.06 * tolerance, label, color=theme.muted, fontsize=8.5, ha="right", va="bottom"
        )


def _draw_method(axes: Axes, method: str, points: Sequence[Point], position: int, theme: Theme) -> None:
    style = method_style(method, position)
    colour = style.colour(theme)
    axes.plot(
        [point.ratio for point in points],
        [point.value for point in points],
        color=colour,
        marker=style.marker,
        linestyle=style.line,
        linewidth=2.6 if style.strong else 1.1,
        markersize=7 if style.strong else 6,
        markeredgecolor=theme.background,
        markeredgewidth=0.6,
        zorder=4 if style.strong else 3,
        label=method,
    )


def _draw_latents_only(axes: Axes, points: Sequence[Point], window: _Window, theme: Theme) -> None:
    """Hollow, joined to its whole-file point: what the paper counts. The first such point is the one that is labelled."""
    counted = [point for point in points if point.latent_ratio and point.value >= window.bottom]
    for number, point in enumerate(counted):
        style = method_style(point.method, 0)
        colour, latent_ratio = style.colour(theme), point.latent_ratio or point.ratio
        axes.plot([point.ratio, latent_ratio], [point.value] * 2, color=colour, linewidth=1.1, linestyle=":", zorder=2)
        axes.plot(
            [latent_ratio],
            [point.value],
            linestyle="none",
            marker=style.marker,
            markersize=7,
            markerfacecolor=theme.background,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            zorder=5,
            label=None if number else f"{point.method}, latents only (the paper's accounting)",
        )
        if not number:
            _annotate_latents_only(axes, point, latent_ratio, colour, theme)


def _annotate_latents_only(axes: Axes, point: Point, latent_ratio: float, colour: str, theme: Theme) -> None:
    axes.annotate(
        f"{point.setting}: latents only {latent_ratio:.1f}x,\nwhole file {point.ratio:.1f}x",
        (latent_ratio, point.value),
        xytext=(0, -10),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
        color=colour,
        bbox={"facecolor": theme.band, "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
        zorder=6,
        parse_math=False,
    )


def _label_axes(axes: Axes, metric: Metric, window: _Window, theme: Theme) -> None:
    axes.set_xscale("log")
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.bottom, window.top)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in _RATIO_TICKS if window.left <= tick <= window.right]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("times smaller: bytes of the tensors / bytes of the whole file", color=theme.ink, fontsize=10)
    axes.set_ylabel(metric.label, color=theme.ink, fontsize=10, parse_math=False)
    if window.clipped:
        note = "lines that leave the picture\nlead to points far below"
        axes.text(0.012, 0.02, note, transform=axes.transAxes, color=theme.muted, fontsize=8.5)
