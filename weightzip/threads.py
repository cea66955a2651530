"""How many threads compute: torch's own within an operation, and ours side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from weightzip.errors import UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Let torch, and `side_by_side`, use `threads` threads within the block; None leaves the setting as it is."""
    if threads is not None and threads < 1:
        raise UsageError(f"--threads must be at least 1, not {threads}")
    with _restored():  # in any case, as blocks within a block cost next to nothing
        if threads is not None:
            _set(threads)
        yield


def side_by_side(
    function: Callable[[_Item], _Result], items: Iterable[_Item], sizes: Sequence[int] | None = None
) -> list[_Result]:
    """`[function(item) for item in items]`, on as many threads as torch may use; each item is computed on one thread.

    sizes: roughly what each item costs; the largest begin first then, so that none is left to be worked on alone at the end.
    The results are the same with any number of threads, as within an item torch has one thread in any case. The first
    exception, in the order of the items, is raised once all have ended or been called off.
    """
    tasks = list(items)
    with _restored() as usual:
        threads = min(usual, len(tasks))
        if threads < 2:
            _set(1)
            return [function(task) for task in tasks]
        with ThreadPoolExecutor(threads, initializer=_set, initargs=(1,)) as pool:
            order = range(len(tasks)) if sizes is None else sorted(range(len(tasks)), key=sizes.__getitem__, reverse=True)
            futures = {index: pool.submit(function, tasks[index]) for index in order}
            try:
                return [futures[index].result() for index in range(len(tasks))]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


class _Process:
    """What new Python threads begin with while no block changes it.

    Torch has a number for each Python thread, which begins as the one that was set last, in whatever thread. Of blocks that
    overlap in several threads, all but the first would therefore take another's number for the usual one, and leave it behind:
    the first to begin saves what new threads begin with, and the last to end restores it.
    """

    def __init__(self) -> None:
        self._lock, self._blocks, self._number = threading.Lock(), 0, 0

    def begin(self) -> int:
        """A block begins, outermost in its Python thread or not; returns how many threads it finds."""
        with self._lock:
            first = not self._blocks
            if first:
                self._number = _in_a_new_thread(torch.get_num_threads)
            self._blocks += 1
            return _block.threads or (torch.get_num_threads() if first else self._number)

    def end(self, threads: int) -> None:
        """A block ends that has found so many threads."""
        with self._lock:
            torch.set_num_threads(threads)
            self._blocks -= 1
            if not self._blocks and threads != self._number:
                _in_a_new_thread(lambda: torch.set_num_threads(self._number))


class _Block(threading.local):
    """How many threads the innermost block that a Python thread is in has set; 0 outside of any."""

    threads = 0


_process = _Process()
_block = _Block()


def _set(threads: int) -> None:
    _block.threads = threads
    torch.get_num_threads()  # at its first use in a Python thread, torch takes the number of then, whatever was set here before
    torch.set_num_threads(threads)


@contextlib.contextmanager
def _restored() -> Iterator[int]:
    """Restore after the block how many threads this Python thread and new ones have; yields the number of this one."""
    before = _block.threads
    found = _process.begin()
    try:
        yield found
    finally:
        _block.threads = before
        _process.end(found)


def _in_a_new_thread(function: Callable[[], _Result]) -> _Result:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
