import errno
import mmap

import numpy as np
import pytest
import torch

import weightzip
from weightzip import errors

EXIT_CODES = {
    "WeightzipError": 1,
    "UsageError": 2,
    "CheckpointError": 1,
    "DamagedCheckpointError": 3,
    "UnsafeCheckpointError": 4,
    "UnsupportedCheckpointError": 4,
    "FormatError": 3,
    "DamagedFileError": 3,
    "LimitError": 4,
    "TargetError": 1,
    "OutputError": 1,
    "TaskError": 1,
    "MeasurementError": 1,
}


def test_there_is_one_tree_and_no_error_outside_it():
    found = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert found == set(EXIT_CODES)
    assert all(issubclass(getattr(errors, name), weightzip.WeightzipError) for name in found)


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_exit_codes_are_those_of_the_interface(name, code):
    assert getattr(errors, name).exit_code == code


def test_a_damaged_file_is_a_format_error_and_a_limit_is_not():
    assert issubclass(errors.DamagedFileError, errors.FormatError)
    assert not issubclass(errors.LimitError, errors.FormatError)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: bytearray(1 << 60),
        lambda: np.empty(1 << 60, np.uint8),
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: mmap.mmap(-1, 1 << 60),
    ],
    ids=["Python", "numpy", "torch", "system"],
)
def test_that_memory_has_run_out_is_known_whoever_says_so(ask):
    with pytest.raises((MemoryError, RuntimeError, OSError)) as raised:
        ask()
    assert errors.is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not fit"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("not enough memory"),
        errors.LimitError("not enough memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_is_taken_for_it(error):
    assert not errors.is_out_of_memory(error)
