"""Blocks of a Markdown page that are replaced: from `<!-- results:NAME -->` to `<!-- /results -->`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from weightzip.errors import UsageError
from weightzip.files import atomic_path
from weightzip.measure.suite.results import SuiteResults
from weightzip.measure.suite.tables import NAMES, has_rows, table

_BEGIN, _END = re.compile(r"<!-- results:(\S+) -->"), "<!-- /results -->"


def update_tables(path: Path, results: SuiteResults) -> tuple[str, ...]:
    """Replace every marked block of a file of which something was measured; returns the names of these tables.

    Raises UsageError for a file that cannot be read, has no blocks, or has one that does not end or is not of `NAMES`;
    OutputError where it cannot be written. The file is then as it was.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--table {path}: cannot be read; name a file in Markdown") from error
    names: list[str] = []

    def block(name: str, old: str) -> str:
        names.append(name)
        return f"\n{table(name, results)}\n" if has_rows(name, results) else old

    try:
        filled = fill(text, block)
    except UsageError as error:
        raise UsageError(f"--table {path}: {error}") from error
    if not names:
        raise UsageError(f"--table {path}: has no tables to fill in; put `{begin(NAMES[0])}` and `{_END}` where one is to be")
    with atomic_path(path) as temporary:
        temporary.write_bytes(filled.encode())
    return tuple(name for name in names if has_rows(name, results))


def fill(text: str, block: Callable[[str, str], str]) -> str:
    """The text with what `block` gives, from a table's name and what stands there, between each pair of markers.

    >>> fill(f"{begin('zoo')}\\nold\\n<!-- /results -->\\n", lambda name, old: f"{old}new {name}\\n")
    '<!-- results:zoo -->\\nold\\nnew zoo\\n<!-- /results -->\\n'

    Raises UsageError for a block that does not end before the next one, and one that there is not.
    """
    first, *others = re.split(r"(?=<!-- results:\S+ -->)", text)
    filled = [first]
    for part in others:
        match = _BEGIN.match(part)
        assert match is not None  # it is where the text was split
        old, end, rest = part[match.end() :].partition(_END)
        if match[1] not in NAMES:
            raise UsageError(f"`{match[0]}`: there is no such table; use one of {', '.join(NAMES)}")
        if not end:
            raise UsageError(f"`{match[0]}`: does not end; put `{_END}` below it")
        filled.append(f"{match[0]}{block(match[1], old)}{end}{rest}")
    return "".join(filled)


def begin(name: str) -> str:
    """The marker before a table."""
    return f"<!-- results:{name} -->"


def empty(name: str) -> str:
    """Both markers, with nothing in between yet."""
    return f"{begin(name)}\n{_END}"
