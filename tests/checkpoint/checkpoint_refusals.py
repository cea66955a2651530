import pytest

from weightzip.checkpoint import read
from weightzip.errors import CheckpointError


def refused(path, error, *parts):
    """Reading `path` raises exactly this error: one line that names the file and has all the parts in it."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message
