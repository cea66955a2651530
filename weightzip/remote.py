"""Models of others by name: `hf:...` (`weightzip.snapshots`) and `torchvision:NAME`, as sources of `compress`."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.error import URLError

from weightzip.errors import CheckpointError, UsageError, WeightzipError
from weightzip.files import check_output
from weightzip.snapshots import PREFIX as HUB
from weightzip.snapshots import Repository, download, first_line
from weightzip.summary import Summary

if TYPE_CHECKING:
    from torch import nn

TORCHVISION = "torchvision:"
F = TypeVar("F", bound=Callable[..., Summary])

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


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
    if _REPOSITORY.fullmatch(source) and not Path(source).suffix and not os.path.lexists(source):
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
        if not isinstance(source, str) or not is_remote(source):
            return compress(source, output, **options)
        target = Path(output) if output is not None else default_output(source)
        check_output(target, force=bool(options.get("force") or options.get("dry_run")))
        with fetched(source) as found:
            summary = compress(found, target, **options)
        summary["input"] = source
        return summary

    return cast("F", wrapped)


def torchvision_model(name: str, weights: str | None = "DEFAULT") -> nn.Module:
    """torchvision's model `name` with its pretrained `weights`; None builds it untrained, without a download.

    Raises UsageError for an unknown name or weights, CheckpointError where the weights are neither here nor to be had.
    """
    from torchvision import models  # slow to import

    if name not in models.list_models():
        raise UsageError(unknown("model", name, models.list_models()))
    known = models.get_model_weights(name).__members__
    if weights is not None and weights not in known:
        raise UsageError(f"{TORCHVISION}{name}: has no weights {weights!r}; choose from {', '.join(known)}")
    with told_in_one_line(f"{TORCHVISION}{name}", "put its weights into torch's hub folder", CheckpointError):
        return cast("nn.Module", models.get_model(name, weights=weights))


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """What to say where torchvision knows no `kind` of this name."""
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"see torchvision's documentation for its {kind}s"
    return f"{name!r}: torchvision has no such {kind}; {hint}"


@contextlib.contextmanager
def told_in_one_line(what: str, remedy: str, kind: type[WeightzipError]) -> Iterator[None]:
    """Turn whatever torchvision raises for missing data, a failing network or damaged downloads into an error of a `kind`.

    Those are URLError, HTTPError, ConnectionError and timeouts (all OSErrors), HTTPException, and RuntimeError from
    its mirrors and checksums; ValueError and TypeError come from options that the class does not take.
    What torchvision prints goes to stderr, since stdout is for data.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (OSError, HTTPException, RuntimeError) as error:
        reason = error.reason if isinstance(error, URLError) else first_line(error)
        raise kind(f"{what} cannot be downloaded: {reason}; connect to the network, or {remedy}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} cannot be built: {first_line(error)}") from error
