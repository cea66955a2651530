"""Reading checkpoint files. Nothing in a file is ever executed: pickles go through torch's safe loader only."""

from __future__ import annotations

import struct
from pathlib import Path

import torch

from weightzip.checkpoint.build import Checkpoint, take_apart_file
from weightzip.checkpoint.folder import single_file
from weightzip.checkpoint.foreign import check_archive, no_checkpoint, read_head, refuse_foreign, unreadable
from weightzip.checkpoint.pickles import ZIP_MAGIC, looks_like_torch
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.read_safetensors import read_folder, read_safetensors
from weightzip.checkpoint.shards import SHARD_SUFFIX
from weightzip.files import is_folder

_MAX_HEADER_BYTES = 100_000_000  # of .safetensors, by its library; the file may be cut off within it


@no_warnings()
def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint: what torch.save wrote (.pt, .pth, .bin, .ckpt) or .safetensors, told apart by content, whatever
    its name; or a folder of .safetensors shards, or the index that such a folder has; or a folder around one model.safetensors
    or pytorch_model.bin.

    Tensors are mapped from the file where that works. Keys of a .safetensors file come in the order of its header, shards in
    the order of their names. Each error names the file, the reason and a way out: CheckpointError for what is no readable
    checkpoint, DamagedCheckpointError for one that is empty, truncated or damaged, UnsafeCheckpointError for a pickle that
    brings code to run, UnsupportedCheckpointError for what cannot be stored.
    """
    path = Path(path)
    path = single_file(path) or path
    if path.name.endswith(".index.json") or is_folder(path):
        return read_folder(path)
    head, size = read_head(path)
    named_safetensors = path.suffix.lower() == SHARD_SUFFIX
    if _looks_like_safetensors(head, _MAX_HEADER_BYTES if named_safetensors else size - 8):
        return read_safetensors(path)
    if looks_like_torch(path, head):
        return _read_torch(path, head)
    refuse_foreign(path, head)
    if named_safetensors:
        return read_safetensors(path)  # which says what is wrong with it
    raise no_checkpoint(path)


def _looks_like_safetensors(head: bytes, room: int) -> bool:
    """room: bytes that the header can have at most."""
    return head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= room


def _read_torch(path: Path, head: bytes) -> Checkpoint:
    # Mapping a compressed record would yield its compressed bytes as weights, without an error.
    stored_plain = head.startswith(ZIP_MAGIC) and check_archive(path)
    # Mapping takes a path, and torch's loader goes by the name if it is this one.
    mapped = stored_plain and path.suffix != SHARD_SUFFIX
    try:
        with path.open("rb") as file:
            root = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch's loader raises nearly anything on bytes that are not what it expects
        raise unreadable(path, head, error) from error
    return take_apart_file(root, "torch", path, path.name, mapped=mapped)
