"""The one sink: what a command answers goes to stdout, what it says on the way goes to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

from weightzip.interface import JSON

if TYPE_CHECKING:
    from rich.table import Table

_PIPED_WIDTH = 200  # columns of a table that is not shown on a terminal


@dataclass
class Output:
    """How a command answers; the shared options of every command set these as they are parsed."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_progress: bool = False

    @property
    def shows_progress(self) -> bool:
        """Whether someone is there to see a progress bar."""
        return sys.stderr.isatty() and not self.quiet and not self.no_progress

    def result(self, data: JSON, human: Callable[[], Iterable[str | Table]]) -> None:
        """A command's answer, on stdout: `data` as JSON where that was asked for, otherwise what `human` gives."""
        if self.json:
            _say(json.dumps(_finite(data), allow_nan=False), sys.stdout)
        elif not self.quiet:
            for part in human():
                _say(printable(part) if isinstance(part, str) else _rendered(part).removesuffix("\n"), sys.stdout)

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
        _say(printable(text), sys.stderr)

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


def _say(text: str, stream: TextIO) -> None:
    """A line on a stream; characters that it cannot show are written out."""
    click.echo(text.encode(stream.encoding or "ascii", "backslashreplace"), file=stream)


def _rendered(table: Table) -> str:
    from rich.console import Console

    console = Console(
        markup=False,
        highlight=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",  # rich by itself would still set text in bold
        width=None if sys.stdout.isatty() else _PIPED_WIDTH,
    )
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _finite(data: JSON) -> JSON:
    """The data with null for numbers that JSON does not have."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
