import pytest

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
