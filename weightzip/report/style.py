"""How figures look: a light and a dark theme, and for every method a colour, a marker and a line of its own.

Colours come from palettes that colour-blind readers can tell apart (Okabe & Ito 2008; Tol 2021); where methods are relatives
they share a colour and differ in line and marker.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weightzip.results import AUTO, CALIBRATED, FINETUNED, LOSSLESS, PAPER, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED

_PNG_DPI = 200


@dataclass(frozen=True)
class Theme:
    """Colours of a figure. dark: which of a method's two colours are meant."""

    background: str
    ink: str
    muted: str
    grid: str
    band: str
    dark: bool


LIGHT = Theme(background="#ffffff", ink="#1c2430", muted="#5d6875", grid="#e3e7ec", band="#e6f3ec", dark=False)
DARK = Theme(background="#161b22", ink="#e6edf3", muted="#9aa7b4", grid="#2b333d", band="#1b3328", dark=True)


@dataclass(frozen=True)
class MethodStyle:
    """light, dark: the colour on either background. strong: drawn to stand out."""

    light: str
    dark: str
    marker: str
    line: str = "-"
    strong: bool = False

    def colour(self, theme: Theme) -> str:
        """The colour on the theme's background."""
        return self.dark if theme.dark else self.light


_STYLES = {
    AUTO: MethodStyle("#0067b1", "#58b0ff", "o", strong=True),
    CALIBRATED: MethodStyle("#0067b1", "#58b0ff", "^", line="--", strong=True),
    FINETUNED: MethodStyle("#0067b1", "#58b0ff", "*", line="-.", strong=True),
    PAPER: MethodStyle("#d1520a", "#ff9248", "s", strong=True),
    LOSSLESS: MethodStyle("#0067b1", "#58b0ff", "D", line="none", strong=True),
    "Deep Compression": MethodStyle("#008f68", "#35d3a2", "^"),
    "k-means codebook": MethodStyle("#a8448f", "#e394d0", "v"),
    "uniform (per channel)": MethodStyle("#b8860b", "#e8c14a", "h"),
    "uniform (per tensor)": MethodStyle("#b8860b", "#e8c14a", "o", line="--"),
    "magnitude pruning (global)": MethodStyle("#7c4a3a", "#cfa08f", "P"),
    "magnitude pruning (per layer)": MethodStyle("#7c4a3a", "#cfa08f", "X", line="--"),
    PRUNED_AND_TRAINED: MethodStyle("#7c4a3a", "#cfa08f", "*", line="-."),
    QUANTISED_AND_TRAINED: MethodStyle("#b8860b", "#e8c14a", "*", line="-."),
    "low-rank SVD": MethodStyle("#7a7f87", "#a7adb5", "d"),
    "cast": MethodStyle("#3f454d", "#d5dae0", "*", line=":"),
    "zstd": MethodStyle("#3f454d", "#d5dae0", "p", line=":"),
}
_OTHERS = (
    MethodStyle("#33867f", "#7fd6cd", "<"),
    MethodStyle("#882255", "#e07aa6", ">"),
    MethodStyle("#5b5fc7", "#a3a6ff", "8", line="--"),
)

_THEME_COLOURS = {field: getattr(LIGHT, field) for field in ("background", "ink", "muted", "grid", "band")}
_NAMES = {colour: f"--{field}" for field, colour in _THEME_COLOURS.items()} | {
    style.light: f"--c{style.light[1:]}" for style in (*_STYLES.values(), *_OTHERS)
}


def method_style(method: str, position: int) -> MethodStyle:
    """The style of a method; one that is not known gets one by its position among the methods."""
    return _STYLES.get(method, _OTHERS[position % len(_OTHERS)])


def css_variables(theme: Theme) -> dict[str, str]:
    """What the page calls the colours, and what they are in this theme."""
    own = {_NAMES[colour]: getattr(theme, field) for field, colour in _THEME_COLOURS.items()}
    styles = (*_STYLES.values(), *_OTHERS)
    return own | {_NAMES[style.light]: style.colour(theme) for style in styles}


def variable(colour: str) -> str:
    """The page's variable for a colour of the light theme; any other colour stays as it is."""
    name = _NAMES.get(colour)
    return f"var({name})" if name else colour


def new_axes(theme: Theme, width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure (inches) with one pair of axes, drawn without any global state."""
    figure = Figure(figsize=(width, height), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    plain(axes, theme)
    return figure, axes


def plain(axes: Axes, theme: Theme, grid: Literal["both", "x", "y"] = "both") -> None:
    """Axes with a grid behind, and lines on the left and below alone."""
    axes.set_facecolor(theme.background)
    axes.grid(True, axis=grid, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.muted, labelsize=9, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.muted)


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, the same bytes for the same figure."""
    with any_letters():
        figure.savefig(path, format="png", dpi=_PNG_DPI, metadata={"Software": None})


def drawable(text: str) -> str:
    """The text without what no font has: halves of characters, as in the names of files whose bytes are no text.

    >>> drawable("model\\udc80.pt")
    'model?.pt'
    """
    return text.encode(errors="replace").decode()


@contextlib.contextmanager
def any_letters() -> Iterator[None]:
    """Within the block: a file's name may have letters that the font lacks; they are drawn as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
