"""Reading checkpoint files. Nothing in a file is ever executed: pickles go through torch's safe loader only."""

from __future__ import annotations

import struct
from pathlib import Path

import torch

from weightzip.checkpoint.build import Checkpoint, take_apart_file
from weightzip.checkpoint.foreign import ZIP_MAGIC, check_archive, read_head, refuse_foreign, unreadable
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.read_safetensors import read_folder, read_safetensors


@no_warnings()
def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint: what torch.save wrote (.pt, .pth, .bin, .ckpt) or .safetensors, told apart by content; or a folder
    of .safetensors shards, or the index that such a folder has.

    Tensors are mapped from the file where that works. Keys of a .safetensors file come in the order of its header, shards in
    the order of their names. Each error names the file, the reason and a way out: CheckpointError for what is no readable
    checkpoint, DamagedCheckpointError for one that is empty, truncated or damaged, UnsafeCheckpointError for a pickle that
    brings code to run, UnsupportedCheckpointError for what cannot be stored.
    """
    path = Path(path)
    if path.name.endswith(".index.json") or path.is_dir():
        return read_folder(path)
    head, size = read_head(path)
    if path.suffix.lower() == ".safetensors" or _looks_like_safetensors(head, size):
        return read_safetensors(path)
    refuse_foreign(path, head)
    return _read_torch(path, head)


def _looks_like_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8


def _read_torch(path: Path, head: bytes) -> Checkpoint:
    stored_plain = head.startswith(ZIP_MAGIC) and check_archive(path)
    try:
        # Mapping a compressed record would yield its compressed bytes as weights, without an error.
        root = torch.load(path, map_location="cpu", weights_only=True, mmap=stored_plain)
    except Exception as error:  # torch's loader raises nearly anything on bytes that are not what it expects
        raise unreadable(path, head, error) from error
    return take_apart_file(root, "torch", path, path.name, mapped=stored_plain)
