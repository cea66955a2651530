"""Reading .safetensors: one file, or a folder of shards with an index that says which of them holds which tensor.

The library reads; it does not tell the order of a header's entries, so that is looked up beside it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from weightzip.checkpoint.build import Checkpoint, take_apart_file
from weightzip.checkpoint.foreign import check_name, damaged, failed, read_head, refuse_foreign
from weightzip.checkpoint.mapped import mapped_bytes
from weightzip.checkpoint.safetensors_file import LENGTH, METADATA, tensor_kind
from weightzip.checkpoint.shards import (
    INDEX_SUFFIX,
    MAX_SHARDS,
    SHARD_SUFFIX,
    WEIGHT_MAP,
    Shard,
    Shards,
    clashing_name,
    is_plain_name,
    is_text_map,
)
from weightzip.errors import CheckpointError, DamagedCheckpointError, UnsupportedCheckpointError
from weightzip.files import is_folder
from weightzip.interface import JSON

_MAX_INDEX_BYTES = 1 << 28
_BIN_INDEX_SUFFIX = ".bin.index.json"
_CHECKPOINT_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", SHARD_SUFFIX}
_CONVERT = "save it as .safetensors (save_pretrained with safe_serialization=True) and use that"
_AGAIN = "copy or download the folder again"


@dataclass(frozen=True)
class _Header:
    """The tensors and the metadata of a file, both in the order in which they stand there; and where its values begin."""

    entries: dict[str, JSON]
    metadata: dict[str, str] | None
    start: int

    @property
    def names(self) -> Collection[str]:
        """The tensors' names."""
        return self.entries.keys()


def read_safetensors(path: Path) -> Checkpoint:
    """Read one file; errors as `read`."""
    header = _header(path)
    return take_apart_file(_tensors(path, header), "safetensors", path, path.name, metadata=header.metadata, mapped=True)


def read_folder(path: Path) -> Checkpoint:
    """Read a folder of shards, or the one that an index file is in; nothing is read until all fits together.

    Errors as `read`: CheckpointError where the index or a shard is missing or the index names what is no file beside it,
    DamagedCheckpointError for a damaged index or shard, and where they do not agree.
    """
    index = _index_in(path) if is_folder(path) else path
    if not is_plain_name(index.name, INDEX_SUFFIX):
        hint = _CONVERT if index.name.endswith(_BIN_INDEX_SUFFIX) else f"an index is called model{INDEX_SUFFIX}"
        raise UnsupportedCheckpointError(f"{index}: not an index of .safetensors shards; {hint}")
    content = _read_index(index)
    folder = index.parent.resolve()
    check_name(folder)
    holders: dict[str, list[str]] = {}
    for key, name in content[WEIGHT_MAP].items():
        holders.setdefault(name, []).append(key)
    _check_files(index, holders)
    headers = {name: _header(index.parent / name) for name in sorted(holders)}
    for name, header in headers.items():
        _check_keys(index.parent / name, header.names, holders[name])
    tensors = {key: tensor for name, header in headers.items() for key, tensor in _tensors(index.parent / name, header).items()}
    rest = json.dumps({field: value for field, value in content.items() if field != WEIGHT_MAP}, separators=(",", ":"))
    files = tuple(Shard(name, len(header.entries), header.metadata) for name, header in headers.items())
    shards = Shards(index.name, rest, files)
    return take_apart_file(tensors, "shards", path, folder.name, shards=shards, mapped=True)


def shard_names(index: Path) -> list[str]:
    """The names of the files that an index asks for, in order. Errors as `read`."""
    names = sorted(set(_read_index(index)[WEIGHT_MAP].values()))
    _check_names(index, names)
    return names


def _header(path: Path) -> _Header:
    """The header of a file that is whole."""
    head, _ = read_head(path)
    if head[8:9] != b"{":  # the length before it may look like anything
        refuse_foreign(path, head)
    try:
        # The library checks all that there is to check; for numpy it does not need as much memory as the file has bytes.
        with safe_open(path, framework="numpy"), path.open("rb") as file:
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:  # too deep a nesting among them
        raise failed(path, error) from error
    metadata = header.pop(METADATA, None)
    return _Header(header, metadata, LENGTH.size + length)


def _tensors(path: Path, header: _Header) -> dict[str, Tensor]:
    try:
        values = mapped_bytes(path)[header.start :]
        return {name: _tensor(values, entry) for name, entry in header.entries.items()}
    except KeyError as error:
        raise UnsupportedCheckpointError(f"{path}: a tensor of dtype {error}, which torch lacks; convert it first") from error
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise failed(path, error) from error


def _tensor(values: Tensor, entry: dict[str, JSON]) -> Tensor:
    """One tensor, in the memory of all values [bytes]; a copy where it does not lie as torch needs it."""
    start, end = entry["data_offsets"]
    dtype, shape = tensor_kind(entry["dtype"], entry["shape"])
    data = values[start:end]
    aligned = data.storage_offset() % dtype.itemsize == 0
    return (data if aligned else data.clone()).view(dtype).reshape(shape)


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    """A JSON object's fields, for json.loads. Raises ValueError where one appears twice."""
    found: dict[str, JSON] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} appears twice")
        found[key] = value
    return found


def _index_in(folder: Path) -> Path:
    """The index of a folder. Raises CheckpointError, with a hint at what else is in it, where there is not just one."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read: {error.strerror or error}") from error
    indexes = [name for name in names if name.endswith(INDEX_SUFFIX)]
    if len(indexes) == 1:
        return folder / indexes[0]
    if indexes:
        raise CheckpointError(f"{folder}: holds several checkpoints: {', '.join(indexes)}; name one of these files")
    checkpoints = [name for name in names if Path(name).suffix.lower() in _CHECKPOINT_SUFFIXES]
    if len(checkpoints) == 1:
        raise CheckpointError(f"{folder}: is a folder; name the checkpoint in it: {folder / checkpoints[0]}")
    if any(name.endswith(_BIN_INDEX_SUFFIX) for name in names):
        raise UnsupportedCheckpointError(f"{folder}: shards in torch's format are not supported; {_CONVERT}")
    if sum(name.endswith(SHARD_SUFFIX) for name in names) > 1:
        raise CheckpointError(
            f"{folder}: several .safetensors files, but their index (model{INDEX_SUFFIX}) is missing; "
            "copy it there, or name one of the files"
        )
    raise CheckpointError(f"{folder}: is a folder without an index of shards; name a checkpoint file in it")


def _read_index(path: Path) -> dict[str, JSON]:
    """The content of an index file, as far as it can be judged without the shards."""
    head, size = read_head(path)
    refuse_foreign(path, head)
    if size > _MAX_INDEX_BYTES:
        raise UnsupportedCheckpointError(f"{path}: an index of {size:,} bytes; at most {_MAX_INDEX_BYTES:,} are read")
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict) or not is_text_map(content.get(WEIGHT_MAP)) or not content[WEIGHT_MAP]:
        raise DamagedCheckpointError(f"{path}: names no tensors and their files ({WEIGHT_MAP!r}); {_AGAIN}")
    return content


def _check_names(index: Path, names: Collection[str]) -> None:
    """Raise CheckpointError where the name of a shard is not simply one of a file beside the index."""
    if len(names) > MAX_SHARDS:
        raise UnsupportedCheckpointError(f"{index}: {len(names):,} shards; at most {MAX_SHARDS:,} can be stored")
    for name in names:
        if not is_plain_name(name, SHARD_SUFFIX):
            raise CheckpointError(f"{index}: {name!r} is not the name of a {SHARD_SUFFIX} file beside it; correct the index")
    if clash := clashing_name(names):
        raise CheckpointError(f"{index}: two shards are called {clash!r} but for upper and lower case; rename one")


def _check_files(index: Path, names: Collection[str]) -> None:
    """Raise CheckpointError where a shard is missing, or `_check_names` has something against its name."""
    _check_names(index, names)
    missing = [name for name in sorted(names) if not (index.parent / name).is_file()]
    if missing:
        others = f" and {len(missing) - 1} others are" if len(missing) > 1 else " is"
        raise CheckpointError(f"{index.parent}: shard {missing[0]}{others} missing; {_AGAIN}")


def _check_keys(shard: Path, held: Collection[str], listed: Collection[str]) -> None:
    """Raise DamagedCheckpointError where a shard and the index do not agree on what it holds."""
    for key in sorted(set(listed) - set(held))[:1]:
        raise DamagedCheckpointError(f"{shard}: holds no tensor {key!r}, but the index says so; {_AGAIN}")
    for key in sorted(set(held) - set(listed))[:1]:
        raise DamagedCheckpointError(f"{shard}: holds a tensor {key!r} that the index does not place there; {_AGAIN}")
