"""Writing folders so that nothing is lost and nothing is left half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from weightzip.errors import OutputError


@contextlib.contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder; its files are the folder's if the block succeeds, and gone if it does not.

    A new folder appears at once and whole. In one that is there already, files of the same names are replaced, and all
    others stay. Raises OutputError where the system refuses to write (no space, no permission).

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "results"
    >>> with staged_folder(target) as staging:
    ...     _ = (staging / "data.bin").write_bytes(b"whole")
    ...     assert not target.exists()
    >>> [path.name for path in target.iterdir()]
    ['data.bin']
    """
    with contextlib.ExitStack() as cleaning:
        with _told(folder):
            staging = _staging(folder.absolute(), cleaning)
        yield staging
        with _told(folder):
            _publish(staging, folder)


@contextlib.contextmanager
def replaced_folder(folder: Path, *, may_go: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder beside `folder`, which it becomes if the block succeeds; what was there before goes as a whole.

    may_go: whether an entry of the folder that is there already may go; OutputError where one may not, and where the system
    refuses to write. Old and new files are never mixed, whenever the process may end.
    """
    with _told(folder):
        kept = [path.name for path in sorted(folder.iterdir()) if not may_go(path)] if folder.is_dir() else []
    if kept:
        raise OutputError(f"{folder}: holds other files, such as {kept[0]}; choose another folder with -o")
    with contextlib.ExitStack() as cleaning:
        with _told(folder):
            name = f".{folder.name[:100]}."
            scratch = tempfile.TemporaryDirectory(
                prefix=name, suffix=".tmp", dir=folder.absolute().parent, ignore_cleanup_errors=True
            )
            staging = Path(cleaning.enter_context(scratch)) / "new"
            staging.mkdir()
        yield staging
        with _told(folder):
            for path in staging.iterdir():
                _sync(path)
            if folder.is_dir():
                folder.rename(staging.with_name("old"))
            staging.rename(folder)


def _staging(folder: Path, cleaning: contextlib.ExitStack) -> Path:
    """A new folder on the target's disk: in the target if it is there, which may be all that may be written to."""
    home = next(place for place in (folder, *folder.parents) if place.exists())
    scratch = tempfile.TemporaryDirectory(prefix=".weightzip-", dir=home, ignore_cleanup_errors=True)
    staging = Path(cleaning.enter_context(scratch)) / "whole"
    staging.mkdir()
    return staging


def _publish(staging: Path, folder: Path) -> None:
    for path in staging.iterdir():
        _sync(path)
    if folder.is_dir():
        for path in sorted(staging.iterdir()):
            path.replace(folder / path.name)
    else:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging.rename(folder)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot be written: {reason}; free some space or name another folder") from error
