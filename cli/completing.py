"""What can stand where the cursor is: the values that shells complete. Nothing here imports torch; a Tab must not take long."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, split_arg_string

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[Any]]]

_PACKED = ("*.wz",)
_CHECKPOINTS = ("*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt")
_ZOO = "zoo:"
_HARMLESS = re.compile(r"[\w.,:/@%+=~-]+")  # what no shell takes apart, expands or executes
FAMILIES = ("dense", "conv", "squeezed", "heteroskedastic", "conditioned", "labelled", "causal")


def _files(*patterns: str) -> list[CompletionItem[Any]]:
    """The shell looks for these files, and for folders on the way to them."""
    return [CompletionItem(pattern, type="file") for pattern in patterns]


def _starting(names: Iterable[str], incomplete: str) -> list[CompletionItem[Any]]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_packed(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A .wz file."""
    return _files(*_PACKED)


def complete_checkpoint(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A checkpoint of any format."""
    return _files(*_CHECKPOINTS)


def complete_weights(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A checkpoint or a .wz file."""
    return _files(*_CHECKPOINTS, *_PACKED)


def complete_zoo_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A model of the zoo."""
    from weightzip.zoo import names

    return _starting(names(), incomplete)


def complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """zoo:NAME, or a Python file, after which the object's name follows."""
    from weightzip.zoo import names

    found = _starting((f"{_ZOO}{name}" for name in names()), incomplete)
    return found if incomplete and found else [*found, *_files("*.py")]


def complete_family(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A family of autoencoders of the paper preset."""
    return _starting(FAMILIES, incomplete)


def complete_scan_family(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A family of autoencoders, or all of them together."""
    return _starting(("ensemble", *FAMILIES), incomplete)


def complete_tensor(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A tensor of the .wz file that is named on the same line; none where there is no such file.

    Anybody may have made the file, and bash puts completions into the command line as they are: a name such as `$(command)` is
    not offered.
    """
    # Not from the context: click stops parsing at --tensor, which has no value yet.
    files = [Path(word) for word in split_arg_string(os.environ.get("COMP_LINE", "")) if word.endswith(".wz")]
    from weightzip.container import open_container
    from weightzip.errors import WeightzipError

    try:
        with open_container(files[0].expanduser()) as container:
            tensors: Any = container.header["tensors"]
        return _starting([tensor[0] for tensor in tensors if _HARMLESS.fullmatch(tensor[0])], incomplete)
    except (WeightzipError, OSError, LookupError, TypeError, ValueError, AttributeError):  # the header is not checked here
        return []
