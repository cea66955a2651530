"""Every error weightzip raises, in one tree. Each carries the exit code of the command line."""

import errno

_TOLD_BY_TORCH = ("can't allocate memory", "cannot allocate memory", "not enough memory")  # in a RuntimeError


class WeightzipError(Exception):
    """Base of all errors: one line that says what, where, and what to do about it."""

    exit_code = 1
    named = False  # whether the message says which file it is about


class UsageError(WeightzipError):
    """The request itself makes no sense: unknown names, options that exclude each other."""

    exit_code = 2


class CheckpointError(WeightzipError):
    """A checkpoint is missing, unreadable, or does not fit the module it is meant for."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is empty, cut off, or otherwise not what was written."""

    exit_code = 3


class UnsafeCheckpointError(CheckpointError):
    """Reading the checkpoint would execute code that it brings."""

    exit_code = 4


class UnsupportedCheckpointError(CheckpointError):
    """The checkpoint holds something that cannot be stored; the message names it."""

    exit_code = 4


class FormatError(WeightzipError):
    """A file is not a .wz file, or not one that this version understands."""

    exit_code = 3


class DamagedFileError(FormatError):
    """A .wz file whose bytes are not those that were written."""


class LimitError(WeightzipError):
    """A file asks for more than a named limit allows."""

    exit_code = 4


class TargetError(WeightzipError):
    """A target of size or quality cannot be met; the message says how close it came."""


class OutputError(WeightzipError):
    """The output cannot be written: it exists, it is the input, or there is no space."""


class TaskError(WeightzipError):
    """A task is incomplete, raised while evaluating, or needs data that cannot be had here."""


class MeasurementError(WeightzipError):
    """A codec that is measured in a process of its own failed; the message says which and how."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory has run out, as Python, the system or torch say it; not that of a device."""
    match error:
        case MemoryError() | OSError(errno=errno.ENOMEM):
            return True
        case RuntimeError():
            return any(words in str(error).lower() for words in _TOLD_BY_TORCH)
        case _:
            return False
