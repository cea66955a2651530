"""One progress bar for a whole command, on terminals only; those who ask for more get a line for each stage as well."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightzip.cli.output import Output, no_color, printable
from weightzip.cli.remaining import Remaining, in_words
from weightzip.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_DELAY = 0.2  # seconds; what is done sooner needs no bar
_REDRAWN = 8  # times a second
_BEFORE = "starting"  # importing torch takes a while
_WIDEST_STAGE = 28  # columns
_BARS = ((60, 20), (36, 10))  # terminals of so many columns or more: how long the bar is
_WITH_TIME = 20  # columns; below, there is no time left
_LEAST_DETAIL = 8  # columns; below, there is none


@contextlib.contextmanager
def progress_bar(out: Output) -> Iterator[Progress]:
    """A callback that draws one bar with the time left and the event's detail; it is gone when the block ends.

    The bar shows how much of the whole is done, as the events say it, and never goes back.
    """
    if not out.shows_progress:
        yield _Stages(out) if out.verbose else silent
        return
    bar = _Bar()
    with _drawn(bar):
        yield _Stages(out, bar) if out.verbose else bar


class _Stages:
    """Says on a line of its own when a stage begins, and how long after the first."""

    def __init__(self, out: Output, inner: Progress = silent) -> None:
        self._out, self._inner = out, inner
        self._stage, self._start = "", time.monotonic()

    def __call__(self, event: ProgressEvent) -> None:
        """Tell a new stage; hand the event on."""
        if event.stage != self._stage:
            self._stage = event.stage
            self._out.detail(f"{time.monotonic() - self._start:7.1f} s  {event.stage}")
        self._inner(event)


@contextlib.contextmanager
def _drawn(bar: _Bar) -> Iterator[None]:
    """Draw the bar on stderr from a short while on; what is said meanwhile stands above it."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stderr, force_terminal=True, color_system=None if no_color() else "auto")
    # stdout is left alone: rich would send what is printed there to stderr.
    live = Live(bar, console=console, transient=True, redirect_stdout=False, refresh_per_second=_REDRAWN)
    timer = threading.Timer(_DELAY, live.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        live.stop()


class _Bar:
    """What the last event said, as one line: stage, bar, percentage, time left, detail; as much of it as there is room for."""

    def __init__(self) -> None:
        self._remaining = Remaining(time.monotonic())
        self._stage, self._detail = _BEFORE, ""

    def __call__(self, event: ProgressEvent) -> None:
        """Show the event."""
        self._remaining.reach(event.done / event.total if event.total > 0 else 0.0, time.monotonic())
        self._stage, self._detail = printable(event.stage), printable(event.detail)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = options.max_width - 1  # some terminals wrap a line that is full
        share, length = self._remaining.share, next((size for least, size in _BARS if width >= least), 0)
        figures = f"{int(100 * share):3d}%"
        if width >= _WITH_TIME:
            figures = f"{figures}  {in_words(self._remaining.seconds(time.monotonic()))}".rstrip()
        room = width - len(figures) - (length + 1 if length else 0)
        stage = Text(self._stage, no_wrap=True)
        stage.truncate(max(0, min(_WIDEST_STAGE, room - 1)), overflow="ellipsis")
        room -= stage.cell_len + 2
        detail = Text(f" {self._detail}" if room >= _LEAST_DETAIL else "", style="dim", no_wrap=True)
        detail.truncate(max(0, room), overflow="ellipsis")
        bar = ProgressBar(total=1.0, completed=share, width=length)
        parts: list[tuple[RenderableType, int]] = [
            (stage, stage.cell_len),
            (bar, length),
            (figures, len(figures)),
            (detail, detail.cell_len),
        ]
        line = Table.grid(padding=(0, 1, 0, 0))
        for _, columns in parts:
            if columns:
                line.add_column(width=columns, no_wrap=True)
        line.add_row(*(part for part, columns in parts if columns))
        yield line
