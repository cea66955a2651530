"""What a user's own code says: its errors, told in one line, and what it prints."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))
_OWN = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def prints_go_to_stderr() -> Iterator[None]:
    """While the block runs, what is printed goes to stderr, because stdout is for the command's own data."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def describe_error(error: BaseException) -> str:
    """The error's type, the first line of its message, and the line of the user's own code that it comes from.

    >>> describe_error(ValueError("no data\\nand more"))
    'ValueError: no data'
    """
    message = (str(error).strip().splitlines() or [""])[0]
    told = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else told


def _is_users(filename: str) -> bool:
    """Whether code is neither a library's nor the program's."""
    path = Path(filename)
    return path.is_file() and not any(path.resolve().is_relative_to(place) for place in (*_LIBRARIES, _OWN))
