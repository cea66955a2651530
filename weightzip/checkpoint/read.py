"""Reading checkpoint files. Nothing in a file is ever executed: pickles go through torch's safe loader only."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from weightzip.checkpoint.build import Checkpoint, take_apart
from weightzip.checkpoint.foreign import HEAD_BYTES, ZIP_MAGIC, check_archive, damaged, refuse_foreign, unreadable
from weightzip.checkpoint.layout import Format
from weightzip.checkpoint.quiet import no_warnings
from weightzip.errors import CheckpointError, DamagedCheckpointError


@no_warnings()
def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint: what torch.save wrote (.pt, .pth, .bin, .ckpt) or .safetensors, told apart by content.

    Tensors are mapped from the file where that works. Keys of a .safetensors file come in the order of
    its header. Each error names the file, the reason and a way out: CheckpointError for what is no readable checkpoint,
    DamagedCheckpointError for one that is empty, truncated or damaged, UnsafeCheckpointError for a pickle that brings
    code to run, UnsupportedCheckpointError for what cannot be stored.
    """
    path = Path(path)
    head, size = _head(path)
    if path.suffix.lower() == ".safetensors" or _looks_like_safetensors(head, size):
        return _read_safetensors(path)
    refuse_foreign(path, head)
    return _read_torch(path, head)


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size in bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{path}: a name that is not valid Unicode cannot be stored; rename the file") from None
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder; name a checkpoint file in it")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the name") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise DamagedCheckpointError(f"{path}: is empty; copy or download it again")
    return head, size


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


def _read_torch(path: Path, head: bytes) -> Checkpoint:
    stored_plain = head.startswith(ZIP_MAGIC) and check_archive(path)
    try:
        # Mapping a compressed record would yield its compressed bytes as weights, without an error.
        root = torch.load(path, map_location="cpu", weights_only=True, mmap=stored_plain)
    except Exception as error:  # torch's loader raises nearly anything on bytes that are not what it expects
        raise unreadable(path, head, error) from error
    return _take_apart(path, root, "torch")


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in _header_order(path)}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, error) from error
    return _take_apart(path, tensors, "safetensors", metadata)


def _take_apart(path: Path, root: object, fmt: Format, metadata: dict[str, str] | None = None) -> Checkpoint:
    try:
        return take_apart(root, fmt, path.name, metadata)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error


def _header_order(path: Path) -> list[str]:
    """The names in the header's order, which safe_open does not tell; that the header is valid it has seen to."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return [name for name in header if name != "__metadata__"]
