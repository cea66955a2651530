"""From an exception to one line on stderr and an exit code; and how a command is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import click

from weightzip.cli.output import Output
from weightzip.cli.usage import describe_usage
from weightzip.errors import WeightzipError, is_out_of_memory

_FAILED = 1
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupted(BaseException):
    """Raised wherever the program is when a signal asks it to stop, so that temporary files are removed on the way out.

    Not a KeyboardInterrupt: click turns that into an error of its own.
    """


class Interrupts:
    """The signals that asked this command to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Raise Interrupted for each such signal within the block; what the caller chose to ignore stays ignored."""
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: signal.getsignal(number) for number in _SIGNALS if signal.getsignal(number) in usual}
        for number in before:
            signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        raise Interrupted


def explain(error: BaseException, interrupts: Interrupts, out: Output) -> int:
    """Say on stderr what went wrong, in one line (and where, if verbose); returns the exit code."""
    if interrupts.signal is not None:  # whatever a library made of the exception that the signal raised
        out.error("interrupted")
        return 128 + interrupts.signal
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        return _FAILED
    out.trace(error)
    line, exit_code = _describe(error)
    out.error(f"error: {line}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        out.error(f"`{error.ctx.command_path} --help` lists what it takes")
    return exit_code


def _describe(error: BaseException) -> tuple[str, int]:
    """The table from exceptions to messages."""
    match error:
        case WeightzipError():
            return str(error), error.exit_code
        case click.UsageError():
            return describe_usage(error), error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case _ if is_out_of_memory(error):
            return "not enough memory; close other programs or use a machine with more", _FAILED
        case OSError(strerror=str(reason)):
            return f"{error.filename}: {reason}" if error.filename is not None else reason, _FAILED
        case _ if _is_out_of_device_memory(error):
            return "not enough memory on the device; use --device cpu or a machine with more", _FAILED
        case _:
            name = type(error).__name__
            return f"internal error: {name}: {error} (run with -v for the traceback)", _FAILED


def _is_out_of_device_memory(error: BaseException) -> bool:
    """Torch's own error of this kind, told apart without importing torch."""
    return type(error).__name__ == "OutOfMemoryError"


def _discard_stdout() -> None:
    """Nobody reads any more; without this Python would complain when it flushes stdout at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
