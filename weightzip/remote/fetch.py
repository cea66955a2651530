"""Models of others by name, as sources of `compress`."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from weightzip.errors import CheckpointError
from weightzip.files import check_output
from weightzip.remote.snapshots import PREFIX as HUB
from weightzip.remote.snapshots import Repository, download
from weightzip.remote.torchvision_models import PREFIX as TORCHVISION
from weightzip.remote.torchvision_models import torchvision_model
from weightzip.summary import Summary

if TYPE_CHECKING:
    from torch import nn

F = TypeVar("F", bound=Callable[..., Summary])

_REPOSITORY = re.compile(r"[\w.-]+/[\w-]+(?:\.\d[\w-]*)*", re.ASCII)  # after a dot a version; a letter would begin a suffix


def is_remote(source: str) -> bool:
    """Whether a source is one that is fetched by its name.

    >>> is_remote("hf:openai-community/gpt2"), is_remote("model.pt")
    (True, False)
    """
    return source.startswith((HUB, TORCHVISION))


def check_local(source: str) -> None:
    """Raise CheckpointError where a source is no path that leads anywhere, but could be the name of a repository.

    >>> check_local("openai-community/gpt2")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    weightzip.errors.CheckpointError: openai-community/gpt2: no such file; for the model on ... write hf:openai-community/gpt2
    """
    if _REPOSITORY.fullmatch(source) and not os.path.lexists(source):
        raise CheckpointError(f"{source}: no such file; for the model on Hugging Face's hub write {HUB}{source}")


def default_output(source: str) -> Path:
    """What the .wz file of such a source is called, in the current folder. Raises UsageError for a name of nothing.

    >>> default_output("hf:openai-community/gpt2@main").name
    'gpt2.wz'
    """
    name = Repository.parse(source).name if source.startswith(HUB) else source.removeprefix(TORCHVISION)
    return Path(f"{name}.wz")


@contextlib.contextmanager
def fetched(source: str) -> Iterator[Path | nn.Module]:
    """What `compress` takes for such a source, for as long as the block lasts: a path, or torchvision's module.

    Raises UsageError for a name that makes no sense and where a library is missing, CheckpointError where the model is
    neither here nor to be had.
    """
    if source.startswith(TORCHVISION):
        yield torchvision_model(source.removeprefix(TORCHVISION))
        return
    with download(source).named() as path:
        yield path


def takes_remote(compress: F) -> F:
    """`compress` for such sources as well. Nothing is downloaded before the output has been found to be possible."""

    @functools.wraps(compress)
    def wrapped(source: object, output: str | Path | None = None, **options: Any) -> Summary:
        if not isinstance(source, str):
            return compress(source, output, **options)
        if not is_remote(source):
            check_local(source)
            return compress(source, output, **options)
        target = Path(output) if output is not None else default_output(source)
        check_output(target, force=bool(options.get("force") or options.get("dry_run")))
        with fetched(source) as found:
            summary = compress(found, target, **options)
        summary["input"] = source
        return summary

    return cast("F", wrapped)
