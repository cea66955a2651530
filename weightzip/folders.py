"""Writing folders so that nothing is lost and nothing is left half-written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from weightzip.errors import OutputError
from weightzip.files import sync as _sync
from weightzip.files import sync_folder, temporary_prefix


@contextlib.contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder; its files are the folder's if the block succeeds, and gone if it does not.

    A new folder appears at once and whole. In one that is there already, files of the same names are replaced, and all
    others stay; so it is with folders inside of it. Raises OutputError where the system refuses to write (no space, no
    permission).

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
def replaced_folder(folder: Path, *, may_go: Callable[[Path], bool] | None) -> Iterator[Path]:
    """A temporary folder beside `folder`, which it becomes if the block succeeds; what was there before goes as a whole.

    may_go: whether an entry of a folder that is there already may go; None where there must not be one. Raises OutputError
    where one may not, and where the system refuses to write. Old and new files are never mixed, whenever the process may end.
    """
    target = folder.absolute()
    _check_replaceable(folder, may_go)
    with contextlib.ExitStack() as cleaning, _told(folder):
        scratch = tempfile.TemporaryDirectory(
            prefix=temporary_prefix(target), suffix=".tmp", dir=target.parent, ignore_cleanup_errors=True
        )
        staging = Path(cleaning.enter_context(scratch)) / "new"
        staging.mkdir()
        yield staging
        _sync_all(staging)
        _check_replaceable(folder, may_go)  # once more, as much time has passed
        _swap(staging, target)
        sync_folder(target.parent)


def _check_replaceable(folder: Path, may_go: Callable[[Path], bool] | None) -> None:
    """Raise OutputError where a folder holds what may not go."""
    with _told(folder):
        if folder.exists() and may_go is None:
            raise OutputError(f"{folder}: exists already; use -f to overwrite it, or choose another name with -o")
        kept = [path.name for path in sorted(folder.iterdir()) if may_go and not may_go(path)] if folder.is_dir() else []
    if kept:
        raise OutputError(f"{folder}: holds other files, such as {kept[0]}; choose another folder with -o")


def _swap(staging: Path, folder: Path) -> None:
    """Put a folder in the place of another one, which goes where the first has been; if anything fails, neither has moved."""
    old = staging.with_name("old")
    try:
        if folder.is_dir():
            folder.rename(old)
        staging.rename(folder)
    except BaseException:  # an interruption as well
        if old.is_dir() and not folder.exists():
            old.rename(folder)
        raise


def _staging(folder: Path, cleaning: contextlib.ExitStack) -> Path:
    """A new folder on the target's disk: in the target if it is there, which may be all that may be written to."""
    home = next(place for place in (folder, *folder.parents) if place.exists())
    scratch = tempfile.TemporaryDirectory(prefix=".weightzip-", dir=home, ignore_cleanup_errors=True)
    staging = Path(cleaning.enter_context(scratch)) / "whole"
    staging.mkdir()
    return staging


def _publish(staging: Path, folder: Path) -> None:
    _sync_all(staging)
    if folder.is_dir():
        _merge(staging, folder)
    else:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging.rename(folder)
        sync_folder(folder.absolute().parent)


def _merge(staging: Path, folder: Path) -> None:
    for path in sorted(staging.iterdir()):
        if path.is_dir() and (folder / path.name).is_dir():
            _merge(path, folder / path.name)
        else:
            path.replace(folder / path.name)
    sync_folder(folder)


def _sync_all(folder: Path) -> None:
    """Make a folder last, with all that is in it: what files hold, and names."""
    for path in folder.iterdir():
        _sync_all(path) if path.is_dir() else _sync(path)
    sync_folder(folder)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot be written: {reason}; free some space or name another folder") from error
