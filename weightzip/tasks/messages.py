"""What a user's own code says: its errors, told in one line, and what it prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def prints_go_to_stderr() -> Iterator[None]:
    """While the block runs, what is printed goes to stderr, because stdout is for the command's own data."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def describe_error(error: BaseException) -> str:
    """The error's type and the first line of its message.

    >>> describe_error(ValueError("no data\\nand more"))
    'ValueError: no data'
    """
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
