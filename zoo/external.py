"""Datasets and models that do not ship with the zoo: torchvision's own, loaded by torchvision's own means.

Both may download. Where there is no network they raise one clear TaskError instead of torchvision's own errors.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import sys
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, cast

import platformdirs

from weightzip.errors import TaskError, UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import Dataset


def torchvision_dataset(name: str, train: bool, root: Path | None = None, **options: object) -> Dataset[object]:
    """The training or the test part of torchvision's dataset class `name`, downloaded to `root` if it is not there.

    train: chosen through the class's own `train`, `split` or `image_set`; a dataset without any is given whole.
    root: where the data is or goes; by default a folder in the user's cache.
    options: passed on to the class, e.g. `transform`, or `split` where its parts have names of their own.

    Raises UsageError for an unknown name, TaskError where the data is neither here nor to be had.
    """
    from torchvision import datasets  # slow to import

    known = {key: getattr(datasets, key) for key in datasets.__all__ if isinstance(getattr(datasets, key), type)}
    if name not in known:
        raise UsageError(_unknown("dataset", name, known))
    builder = known[name]
    folder = root if root is not None else platformdirs.user_cache_path("weightzip") / "torchvision"
    part = "train" if train else "test"
    defaults = {"root": str(folder), "train": train, "split": part, "image_set": part, "download": True}
    accepted = _parameters(builder)
    arguments = {key: value for key, value in defaults.items() if key in accepted} | options
    with _one_line_error(f"torchvision dataset {name!r}", f"put its files into {folder}"):
        if "root" in accepted:
            folder.mkdir(parents=True, exist_ok=True)
        return cast("Dataset[object]", builder(**arguments))


def torchvision_model(name: str, weights: str | None = "DEFAULT") -> nn.Module:
    """torchvision's model `name` with its pretrained `weights`; None builds it untrained, without a download.

    Raises UsageError for an unknown name or weights, TaskError where the weights are neither here nor to be had.
    """
    from torchvision import models  # slow to import

    if name not in models.list_models():
        raise UsageError(_unknown("model", name, models.list_models()))
    known = models.get_model_weights(name).__members__
    if weights is not None and weights not in known:
        raise UsageError(f"torchvision model {name!r} has no weights {weights!r}; choose from {', '.join(known)}")
    with _one_line_error(f"torchvision model {name!r}", "put its weights into torch's hub folder"):
        return cast("nn.Module", models.get_model(name, weights=weights))


def _parameters(builder: type) -> set[str]:
    """The names of what a class's constructor takes, its base classes' included where it passes the rest on to them."""
    found: set[str] = set()
    for base in builder.__mro__:
        parameters = inspect.signature(base).parameters.values()
        found.update(parameter.name for parameter in parameters)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"see torchvision's documentation for its {kind}s"
    return f"{name!r}: torchvision has no such {kind}; {hint}"


@contextlib.contextmanager
def _one_line_error(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever torchvision raises for missing data, a failing network or damaged downloads into a TaskError.

    Those are URLError, HTTPError, ConnectionError and timeouts (all OSErrors), HTTPException, and RuntimeError from
    its mirrors and checksums; ValueError and TypeError come from options that the class does not take.
    What torchvision prints goes to stderr, since stdout is for data.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (OSError, HTTPException, RuntimeError) as error:
        reason = _first_line(error)
        raise TaskError(f"{what} cannot be loaded: {reason}; connect to the network, or {remedy}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} cannot be built: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
