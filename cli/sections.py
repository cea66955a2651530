"""Help that lists a command's options by what they are for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import click

_OTHERS = "Options"
_MESSAGES = ("Messages", ("quiet", "verbose", "json", "no_progress"))
_NONE: Mapping[str, Collection[str]] = MappingProxyType({})


class SectionedCommand(click.Command):
    """A command whose help has sections.

    sections: title -> names of the parameters; those that are in none come first, how the command answers comes last.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Collection[str]] = _NONE, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._sections = {**sections, _MESSAGES[0]: _MESSAGES[1]}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write all sections that have options."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in (_OTHERS, *self._sections)}
        home = {name: title for title, names in self._sections.items() for name in names}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                title = _MESSAGES[0] if "--help" in param.opts else home.get(str(param.name), _OTHERS)
                records[title].append(record)
        for title, rows in records.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
