"""Which file of a folder holds the model, told by the names that Hugging Face's libraries give."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from weightzip.checkpoint.shards import INDEX_SUFFIX, SHARD_SUFFIX
from weightzip.files import is_folder

_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"


def main_file(names: Iterable[str]) -> str | None:
    """The name of a model's file, or of its index of shards, among those of a folder; None where they do not tell.

    In this order: the only index, model.safetensors, the only other .safetensors file, pytorch_model.bin.

    >>> main_file(["config.json", "pytorch_model.bin", "model.safetensors"])
    'model.safetensors'
    """
    given = set(names)
    indexes = [name for name in given if name.endswith(INDEX_SUFFIX)]
    if indexes:
        return indexes[0] if len(indexes) == 1 else None
    files = [name for name in given if name.endswith(SHARD_SUFFIX)]
    if _SAFETENSORS in given or len(files) == 1:
        return _SAFETENSORS if _SAFETENSORS in given else files[0]
    return _TORCH if _TORCH in given and not files else None


def single_file(path: Path) -> Path | None:
    """The file that a folder's model is in; None for shards, for what is no folder, and where the names do not tell."""
    try:
        name = main_file(entry.name for entry in path.iterdir()) if is_folder(path) else None
    except OSError:
        return None  # reading the checkpoint will say what is wrong
    return path / name if name is not None and not name.endswith(INDEX_SUFFIX) else None
