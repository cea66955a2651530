"""How many threads compute: torch's own within an operation, and ours side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from weightzip.errors import UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let torch, and `side_by_side`, use `threads` threads within the block; None leaves the setting as it is."""
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


def side_by_side(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """`[function(item) for item in items]`, on as many threads as torch may use; each item is computed on one thread.

    The results are the same with any number of threads, as within an item torch has one thread in any case. The first
    exception, in the order of the items, is raised once all have ended or been called off.
    """
    tasks = list(items)
    threads = min(torch.get_num_threads(), len(tasks))
    if threads < 2:
        with limited_threads(1):
            return [function(task) for task in tasks]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            futures = [pool.submit(function, task) for task in tasks]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(before)  # what threads started from now on begin with, which those of the pool have changed
