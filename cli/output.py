"""The one sink: what a command answers goes to stdout, what it says on the way goes to stderr."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

from weightzip.interface import JSON

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPED_WIDTH = 200  # columns of a table that is not shown on a terminal
_LEAST_TEXT = 10  # columns of words, which are folded
_ENDLESS = 10_000


@dataclass
class Output:
    """How a command answers; the shared options of every command set these as they are parsed."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_progress: bool = False

    @property
    def shows_progress(self) -> bool:
        """Whether someone is there to see a progress bar, on a terminal that can draw one."""
        able = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        return able and not self.quiet and not self.no_progress

    def result(self, data: JSON, human: Callable[[], Iterable[str | Table]]) -> None:
        """A command's answer, on stdout: `data` as JSON where that was asked for, otherwise what `human` gives."""
        if self.json:
            _say(json.dumps(_finite(data), allow_nan=False), sys.stdout)
        elif not self.quiet:
            self._answer(human())

    def _answer(self, parts: Iterable[str | Table]) -> None:
        """On stdout; tables stand apart."""
        follows_text, follows_table = False, False
        for part in parts:
            text = isinstance(part, str)
            if follows_table or (follows_text and not text):
                _say("", sys.stdout)
            follows_text, follows_table = text, not text
            _tell(part, sys.stdout) if isinstance(part, str) else _say(_rendered(part), sys.stdout)

    def message(self, text: str) -> None:
        """Something worth knowing, on stderr."""
        if not self.quiet:
            self.error(text)

    def detail(self, text: str) -> None:
        """Something worth knowing for those who asked for more, on stderr."""
        if self.verbose:
            self.message(text)

    def error(self, text: str) -> None:
        """What is said even when quiet, on stderr."""
        _tell(text, sys.stderr)

    def trace(self, error: BaseException) -> None:
        """Where an error comes from, for those who asked for more, on stderr."""
        if self.verbose:
            _say("".join(traceback.format_exception(error)).rstrip(), sys.stderr)


def printable(text: str) -> str:
    r"""The text on one line, with control characters written out: names come from files that anybody may have made.

    >>> printable("fc.\x1b[31mweight\n")
    'fc.\\x1b[31mweight\\n'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def no_color() -> bool:
    """Whether the user wants none: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def _say(text: str, stream: TextIO) -> None:
    """A line on a stream; characters that it cannot show are written out."""
    encoding = stream.encoding or "ascii"
    # As text: on a terminal that shows a progress bar, stderr is a stand-in, which puts lines above the bar.
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, color=True)


def _tell(text: str, stream: TextIO) -> None:
    """A sentence on a stream; on a terminal broken between words, and continued a little further in."""
    line, width = printable(text), shutil.get_terminal_size().columns
    if stream.isatty() and len(line) > width:
        margin = " " * (len(line) - len(line.lstrip()))
        wrapper = textwrap.TextWrapper(width, margin, f"{margin}  ", break_long_words=False, break_on_hyphens=False)
        line = wrapper.fill(line.strip())
    _say(line, stream)


def _rendered(table: Table) -> str:
    from rich.console import Console

    console = Console(
        markup=False,
        highlight=False,
        emoji=False,
        color_system=None if no_color() else "auto",  # rich by itself would still set text in bold
        width=None if sys.stdout.isatty() else _PIPED_WIDTH,
    )
    console.width = max(console.width, _least_width(table, console))
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n"))


def _least_width(table: Table, console: Console) -> int:
    """Columns that it takes so that no figure is cut; where there are fewer, the terminal wraps the lines."""
    from rich.measure import Measurement

    texts = [column for column in table.columns if not column.no_wrap]
    for column in texts:
        column.max_width = _LEAST_TEXT
    least = Measurement.get(console, console.options.update(width=_ENDLESS), table).maximum
    for column in texts:
        column.max_width = None
    return least


def _finite(data: JSON) -> JSON:
    """The data with null for numbers that JSON does not have."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
