"""Writing folders so that nothing is lost and nothing is left half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
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
