"""Values of tensors as bytes, written to places in a file that has its full length from the start."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

import torch
from torch import Tensor

_BLOCK_BYTES = 16 << 20  # of a tensor that has to be copied on the way
_CANNOT_ALLOCATE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)  # such file systems fill up as they go


def byte_blocks(tensor: Tensor, block_bytes: int = _BLOCK_BYTES) -> Iterator[memoryview]:
    """The values of a CPU tensor, row-major, as runs of bytes of at most `block_bytes`; never a copy of the whole."""
    if tensor.numel() == 0:
        return
    if tensor.is_contiguous() or tensor.nbytes <= block_bytes:
        # reshape would leave a single element with whatever stride it has, with which it cannot be viewed as bytes
        flat = tensor.detach().contiguous().as_strided((tensor.numel(),), (1,)).view(torch.uint8)
        for start in range(0, flat.numel(), block_bytes):
            yield flat[start : start + block_bytes].numpy().data
        return
    num_rows = max(1, block_bytes // (tensor.nbytes // len(tensor)))
    for start in range(0, len(tensor), num_rows):
        rows = tensor[start : start + num_rows]
        yield from byte_blocks(rows[0] if len(rows) == 1 else rows, block_bytes)


def write_at(file: RawIOBase, offset: int, data: memoryview | bytes) -> None:
    """Write all of `data` at `offset`. Raises OSError."""
    file.seek(offset)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def allocate(path: Path, num_bytes: int) -> None:
    """Make a file `num_bytes` long and reserve the space for it, so that a full disk is met now. Raises OSError."""
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate") and num_bytes:
            with _unless_impossible():
                os.posix_fallocate(file.fileno(), 0, num_bytes)
        file.truncate(num_bytes)


@contextlib.contextmanager
def _unless_impossible() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_ALLOCATE:
            raise
