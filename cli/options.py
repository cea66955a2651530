"""Options that several commands share."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from weightzip.cli.output import Output

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path, readable=False)  # the library says better what is wrong


class WholeNumber(click.types.IntParamType):
    """A whole number within bounds; unlike click.IntRange it leaves them out of the help, where they say little."""

    def __init__(self, least: int, most: int | None = None) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises click.BadParameter."""
        with contextlib.suppress(ValueError):
            number = int(value)
            if self._least <= number and (self._most is None or number <= self._most):
                return number
        range_ = f"{self._least} or more" if self._most is None else f"from {self._least} to {self._most}"
        raise click.BadParameter(f"{value!r} is not a whole number, {range_}.", ctx, param)


SEED = WholeNumber(0, 2**32 - 1)
_UNITS = {"": 1, "b": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}


def output_options(command: Command) -> Command:
    """How the command answers: kept in its Output, which it is given as its first argument."""
    command = _flag("--no-progress", help_text="No progress bar.")(command)
    command = _flag("--json", help_text="Print one JSON value to stdout and nothing else.")(command)
    command = _flag("-v", "--verbose", help_text="Say more: each stage, details, tracebacks.")(command)
    command = _flag("-q", "--quiet", help_text="Say nothing but errors.")(command)
    return click.pass_obj(command)  # type: ignore[return-value]  # it returns what it was given, wrapped


def _flag(*names: str, help_text: str) -> Callable[[Command], Command]:
    return click.option(*names, is_flag=True, expose_value=False, callback=_remember, help=help_text)


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    setattr(ctx.ensure_object(Output), str(param.name), value)


def destination_option(help_text: str) -> Callable[[Command], Command]:
    """-o: where to write."""
    return click.option("-o", "--output", "destination", type=PATH, help=help_text)


def parse_bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of bytes such as 500000, 500MB or 1.5GiB. Raises click.BadParameter."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower(), re.ASCII)
    if match is None or match[2] not in _UNITS:
        raise click.BadParameter(f"{value!r} is not a number of bytes such as 500MB or 2GiB.", ctx, param)
    return int(float(match[1]) * _UNITS[match[2]])


force_option = click.option("-f", "--force", is_flag=True, help="Overwrite what exists.")
seed_option = click.option("--seed", metavar="N", type=SEED, default=0, help="Of all randomness.  [default: 0]")
threads_option = click.option(
    "--threads", metavar="N", type=WholeNumber(1), help="Threads to compute with.  [default: one per core]"
)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
memory_option = click.option(
    "--memory",
    metavar="BYTES",
    callback=parse_bytes,
    help="Refuse what takes more to restore, e.g. 500MB or 2GiB; 64 MiB to work with are free.",
)
