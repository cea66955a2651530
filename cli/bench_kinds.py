"""The kinds of measurement that `weightzip bench` makes, and which options go with which."""

from __future__ import annotations

from typing import Literal

import click
from click.core import ParameterSource

from weightzip.errors import UsageError

Kind = Literal["comparison", "synthetic", "families", "scan", "suite"]
_CHOSEN_BY: dict[Kind, tuple[str, str]] = {
    "synthetic": ("synthetic", "--synthetic SIZE"),
    "families": ("families", "--families"),
    "scan": ("scanning", "--scan"),
    "suite": ("suite", "--suite"),
}
_GOES_WITH: dict[str, tuple[str, tuple[Kind, ...]]] = {  # by the parameter's name: as it is written, and its kinds
    "checkpoints": ("CHECKPOINT", ("comparison", "scan", "suite")),
    "snrs": ("--snr", ("comparison",)),
    "peers": ("--peers", ("comparison", "suite")),
    "lossless": ("--lossless", ("comparison", "synthetic")),
    "largest": ("--largest", ("synthetic",)),
    "dtype": ("--dtype", ("synthetic",)),
    "folder": ("--folder", ("synthetic",)),
    "seed": ("--seed", ("synthetic", "families", "scan", "suite")),
    "threads": ("--threads", ("comparison", "synthetic", "scan", "suite")),
    "quick": ("--quick", ("families", "suite")),
    "table": ("--table", ("families", "suite")),
    "destination": ("-o", ("suite",)),
    "models": ("--models", ("suite",)),
    "force": ("-f", ("suite",)),
}


def kind_of_bench() -> Kind:
    """What is to be measured. Raises UsageError for options that do not go with it, click.UsageError without checkpoints."""
    ctx = click.get_current_context()
    chosen = [kind for kind, (name, _) in _CHOSEN_BY.items() if ctx.params[name] not in (None, False)]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(_CHOSEN_BY[kind][1] for kind in chosen)} do not go together; ask for one at a time")
    kind: Kind = chosen[0] if chosen else "comparison"
    for name, (flag, kinds) in _GOES_WITH.items():
        if kind not in kinds and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{flag} {_reason(kind, kinds)}")
    if ctx.params["lossless"] and ctx.get_parameter_source("snrs") is ParameterSource.COMMANDLINE:
        raise UsageError("--snr does not go with --lossless; leave out one of them")
    if kind == "suite" and ctx.params["table"] is not None:
        _check_table_alone(ctx)
    if kind in ("comparison", "scan") and not ctx.params["checkpoints"]:
        raise click.MissingParameter(param_type="argument", param_hint="'CHECKPOINT...'")
    return kind


def _check_table_alone(ctx: click.Context) -> None:
    """Raise UsageError for what would only matter if something was measured."""
    for name in ("checkpoints", "peers", "seed", "threads", "quick", "models", "force"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{_GOES_WITH[name][0]} does not go with --suite --table, which measures nothing; leave it out")


def _reason(kind: Kind, kinds: tuple[Kind, ...]) -> str:
    if kind != "comparison":
        return f"does not go with {_CHOSEN_BY[kind][1].split()[0]}; leave out one of them"
    *others, last = (_CHOSEN_BY[each][1] for each in kinds)
    return f"needs {', '.join(others)} or {last}" if others else f"needs {last}"
