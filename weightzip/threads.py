"""How many threads torch may use, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from weightzip.errors import UsageError


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let torch use `threads` threads within the block; None leaves its setting as it is."""
    if threads is None:
        yield
        return
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, not {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
