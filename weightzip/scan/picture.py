"""A picture of a scan: a row for each tensor, its blocks from left to right, the odder the darker, the flagged ones marked."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from weightzip.report.style import LIGHT, new_axes, save_png
from weightzip.scan.scanning import ScanResult

_COLUMNS = 400  # cells of a row; a cell shows the oddest of its blocks
_MOST_ROWS = 48
_LONGEST_NAME = 44
_FLAGGED = "#d1520a"
_COLOURS = LinearSegmentedColormap.from_list(  # pale up to where a block begins to be odd
    "odd", [(0.0, "#f4f6f9"), (0.6, "#c3d3e2"), (0.9, "#4f8fc4"), (1.0, "#0b2239")]
)


def draw_scan(result: ScanResult, path: Path, title: str) -> None:
    """Write the picture to a PNG file. Of very many tensors, those with the oddest blocks are shown."""
    shown = _shown(result)
    figure, axes = new_axes(LIGHT, 10.0, 1.6 + 0.24 * max(2, len(shown)))
    axes.grid(False)
    cells = np.stack([_row(result, number) for number in shown]) if shown else np.zeros((1, _COLUMNS))
    image = axes.imshow(
        cells, aspect="auto", interpolation="nearest", cmap=_COLOURS, vmin=0, vmax=1, extent=(0, 100, len(cells) - 0.5, -0.5)
    )
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.015, fraction=0.03)
    bar.set_label("score of the oddest block, relative to the limit", color=LIGHT.muted, fontsize=8.5)
    bar.ax.tick_params(colors=LIGHT.muted, labelsize=8)
    axes.hlines(np.arange(0.5, len(cells) - 1), 0, 100, color=LIGHT.background, linewidth=2.5)
    _mark(axes, result, shown)
    axes.set_yticks(range(len(shown)), [_label(result, number) for number in shown], fontsize=8)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a dollar sign is a dollar sign
    axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("position within the tensor, %", color=LIGHT.muted, fontsize=9)
    axes.set_title(
        _heading(result, shown, title), color=LIGHT.ink, fontsize=11, fontweight="bold", loc="left", parse_math=False
    )
    save_png(figure, path)


def _shown(result: ScanResult) -> list[int]:
    """Numbers of tensors, in order."""
    worst = np.zeros(len(result.ranges.names))
    np.maximum.at(worst, result.ranges.tensor.numpy(), _relative(result))
    return sorted(np.argsort(-worst, kind="stable")[:_MOST_ROWS].tolist())


def _relative(result: ScanResult) -> NDArray[np.float64]:
    """Scores by limits, [n]."""
    return (result.scores.double() / result.limits.double().clamp_min(1e-9)).numpy()


def _row(result: ScanResult, number: int) -> NDArray[np.float64]:
    """The highest relative score in each cell, [_COLUMNS]; a tensor of fewer blocks has wide ones."""
    scores = _relative(result)[result.ranges.tensor.numpy() == number]
    edges = np.linspace(0, len(scores), _COLUMNS + 1)
    return np.array([scores[int(a) : max(int(a) + 1, math.ceil(b))].max() for a, b in itertools.pairwise(edges)])


def _mark(axes: Axes, result: ScanResult, shown: list[int]) -> None:
    """A triangle over every flagged block."""
    row = {result.ranges.names[number]: at for at, number in enumerate(shown)}
    sizes = {name: math.prod(shape) for name, shape in zip(result.ranges.names, result.ranges.shapes, strict=True)}
    flags = [flag for flag in result.flagged if flag.tensor in row]
    across = [50 * (flag.start + flag.end) / sizes[flag.tensor] for flag in flags]
    axes.scatter(
        across,
        [row[flag.tensor] - 0.18 for flag in flags],
        s=26,
        marker="v",
        color=_FLAGGED,
        linewidths=0.5,
        edgecolors="white",
        zorder=3,
        clip_on=False,
    )


def _label(result: ScanResult, number: int) -> str:
    name = result.ranges.names[number]
    short = name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
    printable = "".join(letter if letter.isprintable() else "?" for letter in short)
    return f"{printable}  {'x'.join(map(str, result.ranges.shapes[number])) or 'scalar'}"


def _heading(result: ScanResult, shown: list[int], title: str) -> str:
    tensors = len(result.ranges.names)
    which = f"{len(shown)} of {tensors} tensors shown" if len(shown) < tensors else f"{tensors} tensors"
    return f"{title}: {len(result.flagged):,} of {result.blocks:,} blocks flagged, {which}"
