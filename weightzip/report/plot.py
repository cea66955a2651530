"""The curve: a task's metric against the ratio of the whole file, every method in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from weightzip.errors import UsageError
from weightzip.metric import Metric
from weightzip.report.style import LIGHT, MethodStyle, Theme, drawable, method_style, new_axes, save_png
from weightzip.results import Point, by_method

_SHOWN_TOLERANCES = 3  # how far below the original the curve shows; what falls deeper has failed anyway
_RATIO_TICKS = (
    (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000),
    (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000),
    (1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
)
_TICKS_PER_INCH = 1.6
_LETTERS_PER_INCH = 9
_STAR = 1.6  # a star is all points; it needs more room to look as large as another marker
_NARROW = 5.0  # inches, up to which labels are short


def plot_points(points: Sequence[Point], path: str | Path, title: str, *, metric: str = "metric") -> None:
    """Draw metric against ratio to a PNG file. metric: what the task calls it, with its unit.

    Raises UsageError where there is no point to draw.
    """
    save_png(draw_points(points, title, Metric(metric), LIGHT), Path(path))


def draw_points(points: Sequence[Point], title: str, metric: Metric, theme: Theme) -> Figure:
    """The curve as a picture that stands by itself: with a title, and with a legend below."""
    figure = draw_curve(points, metric, theme, 9.0, 6.4)
    (axes,) = figure.axes
    _annotate_latents_only(axes, points, _Window.of(points, metric), theme)
    if title:
        axes.set_title(drawable(title), color=theme.ink, fontsize=12, fontweight="bold", loc="left", pad=12, parse_math=False)
    legend = figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False, handlelength=3)
    for text in legend.get_texts():
        text.set_color(theme.ink)
        text.set_parse_math(False)  # a dollar sign is a dollar sign
    return figure


def draw_curve(points: Sequence[Point], metric: Metric, theme: Theme, width: float, height: float) -> Figure:
    """A line per method; the paper's own accounting hollow beside the whole file it stands for. width, height: inches.

    Artists have gids: "line-" and the number of the method, "point-" and "latents-" and the number of the point, as far as it
    lies within the picture. Raises UsageError where there is no point to draw.
    """
    if not points:
        raise UsageError("there is no point to draw")
    figure, axes = new_axes(theme, width, height)
    window = _Window.of(points, metric)
    numbers = {point: number for number, point in enumerate(points)}
    _draw_original(axes, points[0].original, metric, window, theme)
    for position, (method, own) in enumerate(by_method(points).items()):
        style = method_style(method, position)
        placed = [point for point in own if point.ratio > 0]
        _plot(axes, placed, style, theme, style.line, "", gid=f"line-{position}")
        _plot(axes, (), style, theme, style.line, style.marker, label=method)
        for point in placed:
            if window.shows(point):
                _plot(axes, (point,), style, theme, "none", style.marker, gid=f"point-{numbers[point]}")
    _draw_latents_only(axes, points, window, theme)
    _label_axes(axes, metric, window, theme, width, height)
    return figure


def draw_key(method: str, position: int, theme: Theme) -> Figure:
    """The line and the marker of a method, as small as a word."""
    figure = Figure(figsize=(0.5, 0.2), facecolor="none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, 2)
    axes.set_ylim(-1, 1)
    style = method_style(method, position)
    colour, edge = style.colour(theme), theme.background
    axes.plot([0, 2], [0, 0], color=colour, linestyle=style.line, linewidth=2.2 if style.strong else 1.2)
    size = 7 * (_STAR if style.marker == "*" else 1)
    axes.plot([1], [0], color=colour, marker=style.marker, markersize=size, markeredgecolor=edge, markeredgewidth=0.6)
    return figure


@dataclass(frozen=True)
class _Window:
    """What the axes show: ratios from left to right, values from bottom to top.

    lowest: the least value whose point is shown. clipped: whether others lie below it.
    """

    left: float
    right: float
    bottom: float
    top: float
    lowest: float
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
            left=min([1.0, *ratios]) / 1.08,
            right=max([2.0, *ratios]) * 1.25,
            bottom=min(lowest, original - 2 * tolerance) - 0.25 * tolerance,
            top=highest + 0.55 * tolerance,
            lowest=lowest,
            clipped=len(shown) < len(points),
        )

    def shows(self, point: Point) -> bool:
        """Whether a point is within; one of no bytes to begin with has no place."""
        return point.ratio > 0 and point.value >= self.lowest


def _draw_original(axes: Axes, original: float, metric: Metric, window: _Window, theme: Theme) -> None:
    """The original's value as a line, and below it a band: losses that count as small."""
    tolerance = metric.tolerance(original)
    axes.axhspan(original - tolerance, original, color=theme.band, linewidth=0, zorder=0)
    axes.axhline(original, color=theme.ink, linewidth=1, linestyle=(0, (5, 4)), zorder=1)
    lost = f"up to {metric.tolerance_words(original)} lost"  # on the left, where curves have not yet fallen
    labels = (
        (window.right / 1.03, original, f"original {metric.format(original)}", "right"),
        (window.left * 1.03, original - tolerance, lost, "left"),
    )
    for place, height, label, side in labels:
        axes.text(place, height + 0.06 * tolerance, label, color=theme.muted, fontsize=8.5, ha=side, va="bottom")


def _plot(
    axes: Axes,
    points: Sequence[Point],
    style: MethodStyle,
    theme: Theme,
    line: str,
    marker: str,
    *,
    gid: str = "",
    label: str = "",
) -> None:
    """One artist of a method: its line, its marker at a point, or, of no points, what the legend shows."""
    axes.plot(
        [point.ratio for point in points],
        [point.value for point in points],
        color=style.colour(theme),
        linestyle=line,
        linewidth=2.6 if style.strong else 1.1,
        marker=marker,
        markersize=(7 if style.strong else 6) * (_STAR if marker == "*" else 1),
        markeredgecolor=theme.background,
        markeredgewidth=0.6,
        zorder=(4 if style.strong else 3) + (0.5 if marker else 0),
        gid=gid or None,
        label=label or None,
    )


def _draw_latents_only(axes: Axes, points: Sequence[Point], window: _Window, theme: Theme) -> None:
    """Hollow, joined to its whole-file point: what the paper counts. The first such point is the one that is labelled."""
    first = True
    for number, point in enumerate(points):
        if not point.latent_ratio or not window.shows(point):
            continue
        style = method_style(point.method, 0)
        colour, ends = style.colour(theme), [point.ratio, point.latent_ratio]
        gid = f"joint-{number}"
        axes.plot(ends, [point.value] * 2, color=colour, linewidth=1.1, linestyle=":", zorder=2, gid=gid)
        axes.plot(
            [point.latent_ratio],
            [point.value],
            linestyle="none",
            marker=style.marker,
            markersize=7,
            markerfacecolor=theme.background,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            zorder=5,
            gid=f"latents-{number}",
            label=f"{point.method}, latents only (the paper's accounting)" if first else None,
        )
        first = False


def _annotate_latents_only(axes: Axes, points: Sequence[Point], window: _Window, theme: Theme) -> None:
    """Both accountings in figures, beside the first hollow marker."""
    point = next((point for point in points if point.latent_ratio and window.shows(point)), None)
    if point is None or not point.latent_ratio:
        return
    axes.annotate(
        f"{point.setting}: latents only {point.latent_ratio:.1f}x,\nwhole file {point.ratio:.1f}x",
        (point.latent_ratio, point.value),
        xytext=(0, -10),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
        color=theme.ink,
        bbox={"facecolor": theme.band, "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
        zorder=6,
        parse_math=False,
    )


def _label_axes(axes: Axes, metric: Metric, window: _Window, theme: Theme, width: float, height: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.bottom, window.top)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(window, width)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_locator(NullLocator())
    label = "times smaller: bytes of the tensors / bytes of the whole file" if width > _NARROW else "times smaller, whole file"
    axes.set_xlabel(label, color=theme.ink, fontsize=10)
    name, room = drawable(metric.label), round(_LETTERS_PER_INCH * height)
    axes.set_ylabel(name if len(name) <= room else f"{name[:room]}...", color=theme.ink, fontsize=10, parse_math=False)
    if window.clipped:
        note = "lines that leave the picture\nlead to points far below"
        axes.text(0.012, 0.02, note, transform=axes.transAxes, color=theme.muted, fontsize=8.5)


def _ticks(window: _Window, width: float) -> list[int]:
    """The finest of some scales that the width has room for."""
    scales = [[tick for tick in scale if window.left <= tick <= window.right] for scale in _RATIO_TICKS]
    return next((ticks for ticks in scales if len(ticks) <= _TICKS_PER_INCH * width), scales[-1])
