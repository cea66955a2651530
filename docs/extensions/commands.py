"""The directive that shows commands as the program itself describes them, so that the page is never out of date."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from weightzip.cli.main import main

_WIDTH = 100
_PLAIN = {ord(char): f"\\{char}" for char in "|<>*_[]"}


class Commands(SphinxDirective):
    """`{commands}`: a section for every command, with its help text and its flags."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        text = "\n".join(line for path, command in _commands(main, ()) for line in _section(path, command))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


def _section(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """Markdown: what it does, its examples, and a table of its arguments and flags."""
    name = " ".join(path)
    context = click.Context(command, info_name=f"weightzip {name}", max_content_width=_WIDTH, terminal_width=_WIDTH)
    yield f"## weightzip {name}"
    yield ""
    yield from _block(command.get_usage(context).removeprefix("Usage: "))
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = paragraph.replace("\b", "").strip("\n").splitlines()
        if "\b" not in paragraph:
            yield from (_escaped(" ".join(lines)), "")
            continue
        yield from (line for line in lines if not line.startswith(" "))
        yield from ("", *_block("\n".join(line.strip() for line in lines if line.startswith(" "))))
    tables = _Tables()
    command.format_options(context, tables)
    for title, rows in tables.found:
        yield from (f"**{title}**", "", "| flag | what it does |", "|---|---|")
        yield from (f"| `{flag.replace('|', chr(92) + '|')}` | {_escaped(meaning)} |" for flag, meaning in rows)
        yield ""


class _Tables(click.HelpFormatter):
    """Takes down what a command's help says of its options: titles, with flags and what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str]]]] = []

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.found.append((name, []))
        yield

    def write_dl(self, rows: Iterable[tuple[str, str]], *_: object, **__: object) -> None:
        self.found[-1][1].extend(rows)


def _block(text: str) -> tuple[str, ...]:
    return ("```text", text, "```", "")


def _escaped(text: str) -> str:
    """Nothing means anything in it but code between backticks."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if i % 2 else part.translate(_PLAIN) for i, part in enumerate(parts))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
