"""Memory behind tensors that are mapped from a file: the system may have it back whenever they are not in use."""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_PAGE_OUT = 21  # MADV_PAGEOUT: reclaim now. The contents stay: what is touched again is read again.


def mapped_bytes(path: Path) -> Tensor:
    """A file's bytes [n], uint8, mapped into memory; never to be written to, which would end the process.

    Torch and safetensors map files so that they may be written to in memory. Systems count that as memory, and refuse files
    that are larger than what they have. Raises OSError, and ValueError for an empty file.
    """
    with path.open("rb") as file:
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=torch.uint8)


def release(tensor: Tensor) -> None:
    """Tell the system that the memory behind a contiguous tensor is not needed for now; its values stay as they are.

    For tensors of a `Checkpoint` that is `mapped`: their pages leave the process at once and come back from the file
    when they are touched. Where the system does not know of this, nothing happens.
    """
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = _advise()
    if advise is not None and start < stop:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _PAGE_OUT)  # advice may be refused: no harm


@cache
def _advise() -> ctypes._NamedFuncPointer | None:
    return ctypes.CDLL(None).madvise if sys.platform == "linux" else None
