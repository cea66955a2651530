"""Writing files so that nothing is lost and nothing is left half-written."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from weightzip.errors import OutputError


def check_output(output: Path, *, sources: Collection[Path] = (), force: bool = False, folder: bool = False) -> None:
    """Refuse an output that is one of the inputs, that exists (unless `force`), or whose folder does not.

    sources: all files and folders that are read. folder: whether the output is to be a folder.
    Raises OutputError; called before long work, so that nobody waits for a result that cannot be written.
    """
    try:
        _check_output(output, sources, force, folder)
    except (OSError, ValueError) as error:  # a name too long or with a zero byte, a folder that may not be looked into
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{output}: cannot be written: {reason}; choose another name with -o") from error


def _check_output(output: Path, sources: Collection[Path], force: bool, folder: bool) -> None:
    if "\0" in str(output):
        raise ValueError("no name has a zero byte")
    if output.exists() and any(source.exists() and output.samefile(source) for source in sources):
        raise OutputError(f"{output}: output and input are the same file; choose another name with -o")
    if output.is_dir() and not folder:
        raise OutputError(f"{output}: is a folder; name a file with -o")
    if folder and output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file, where a folder of shards is to be written; choose another name with -o")
    if output.exists() and not output.is_dir() and not output.is_file():
        raise OutputError(f"{output}: is a device or the like, which a file cannot replace; choose another name with -o")
    if os.path.lexists(output) and not force:
        raise _exists(output)
    if not output.absolute().parent.is_dir():
        raise OutputError(f"{output.parent}: no such folder; create it first")
    check_writable(output)


def _exists(output: Path) -> OutputError:
    return OutputError(f"{output}: exists already; use -f to overwrite it, or choose another name with -o")


def is_folder(path: Path) -> bool:
    """Whether there is a folder of that name; no name is so odd that this is an error."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def check_writable(output: Path) -> None:
    """Raise OutputError where no file may be made in `output`'s folder."""
    folder = output.absolute().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{output}: cannot be written: {folder} allows no new files; choose another place with -o")


def check_space(output: Path, num_bytes: int) -> None:
    """Raise OutputError if `output`'s disk cannot hold `num_bytes` more."""
    free = shutil.disk_usage(output.absolute().parent).free
    if free < num_bytes:
        raise OutputError(f"{output}: needs {num_bytes:,} bytes, but only {free:,} are free on that disk")


@contextlib.contextmanager
def atomic_path(output: Path, *, force: bool = True) -> Iterator[Path]:
    """A temporary path beside `output`; synced and renamed to it if the block succeeds, removed if it does not.

    force: whether it may take the place of a file that has appeared meanwhile.
    Raises OutputError where the system refuses to write (no space, no permission).

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "data.bin"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_bytes(b"whole")
    >>> target.read_bytes()
    b'whole'
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(output), suffix=".tmp", dir=output.absolute().parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        sync(temporary)
        _default_permissions(temporary)
        if not force:
            _check_free(temporary, output)
        temporary.replace(output)
        sync_folder(output.absolute().parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written: {reason}; free some space or choose another place with -o") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def temporary_prefix(output: Path) -> str:
    """How the name of what will become `output` begins: hidden, and short enough whatever the characters are."""
    return f".{output.name.encode()[:100].decode(errors='ignore')}."


def _check_free(temporary: Path, output: Path) -> None:
    """Raise OutputError where there is a file by now, which is left alone."""
    try:
        # Unlike a look, a link cannot be overtaken by somebody else. It is then renamed over, which is all the same file.
        output.hardlink_to(temporary)
    except FileExistsError:
        raise _exists(output) from None
    except OSError:  # some disks know no links
        if os.path.lexists(output):
            raise _exists(output) from None


def sync(path: Path) -> None:
    """Make a file's content last. Raises OSError."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make new names in a folder last, on systems that can open one for this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _default_permissions(path: Path) -> None:
    """Give a mkstemp file (mode 600) the mode that a plain open() would have given it."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
