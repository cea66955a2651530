"""Pretrained models of torchvision, by its own download code."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from typing import TYPE_CHECKING, cast
from urllib.error import URLError

from weightzip.errors import CheckpointError, UsageError, WeightzipError
from weightzip.remote.snapshots import first_line

if TYPE_CHECKING:
    from torch import nn

PREFIX = "torchvision:"


def torchvision_model(name: str, weights: str | None = "DEFAULT") -> nn.Module:
    """torchvision's model `name` with its pretrained `weights`; None builds it untrained, without a download.

    Raises UsageError for an unknown name or weights, CheckpointError where the weights are neither here nor to be had.
    """
    from torchvision import models  # slow to import

    if name not in models.list_models():
        raise UsageError(unknown("model", name, models.list_models()))
    known = models.get_model_weights(name).__members__
    if weights is not None and weights not in known:
        raise UsageError(f"{PREFIX}{name}: has no weights {weights!r}; choose from {', '.join(known)}")
    with told_in_one_line(f"{PREFIX}{name}", "put its weights into torch's hub folder", CheckpointError):
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
