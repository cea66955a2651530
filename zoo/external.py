"""Datasets that do not ship with the zoo: torchvision's own, loaded by torchvision's own means.

They may download. Where there is no network they raise one clear TaskError instead of torchvision's own errors.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, cast

import platformdirs

from weightzip.errors import TaskError, UsageError
from weightzip.remote import told_in_one_line, unknown

if TYPE_CHECKING:
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
        raise UsageError(unknown("dataset", name, known))
    builder = known[name]
    folder = root if root is not None else platformdirs.user_cache_path("weightzip") / "torchvision"
    part = "train" if train else "test"
    defaults = {"root": str(folder), "train": train, "split": part, "image_set": part, "download": True}
    accepted = _parameters(builder)
    arguments = {key: value for key, value in defaults.items() if key in accepted} | options
    with told_in_one_line(f"torchvision dataset {name!r}", f"put its files into {folder}", TaskError):
        if "root" in accepted:
            folder.mkdir(parents=True, exist_ok=True)
        return cast("Dataset[object]", builder(**arguments))


def _parameters(builder: type) -> set[str]:
    """The names of what a class's constructor takes, its base classes' included where it passes the rest on to them."""
    found: set[str] = set()
    for base in builder.__mro__:
        parameters = inspect.signature(base).parameters.values()
        found.update(parameter.name for parameter in parameters)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found
