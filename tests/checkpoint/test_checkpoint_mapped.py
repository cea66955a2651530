import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from weightzip.checkpoint import from_object, read, release


def resident(path):
    """Bytes of a file that are in this process's memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *fields = line.split()
        if not first.endswith(":"):
            inside = bool(fields) and fields[-1] == str(path)
        elif inside and first == "Rss:":
            total += int(fields[0]) << 10
    return total


STATE = {"a": torch.arange(1 << 23, dtype=torch.int32), "b": torch.ones(3)}


@pytest.fixture(params=["torch", "safetensors"])
def path(request, tmp_path):
    path = tmp_path / "model"
    if request.param == "torch":
        torch.save(STATE, path)
    else:
        save_file(STATE, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is not on the disk yet has to stay
    return path


def test_release_leaves_the_values(path):
    tensors = read(path).tensors
    for _ in range(2):
        for name, tensor in tensors.items():
            release(tensor)
            assert torch.equal(tensor, STATE[name])


@pytest.mark.parametrize("tensor", [torch.ones(0), torch.tensor(1.0), torch.ones(5000), torch.ones(10_000)[1:]])
def test_release_of_memory_that_is_not_mapped_does_no_harm(tensor):
    release(tensor)
    assert torch.equal(tensor, torch.ones_like(tensor))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells, and only Linux takes pages back at once")
def test_reading_and_releasing_bound_the_memory(path):
    tensor = read(path).tensors["a"]
    assert resident(path) < 1 << 20
    tensor.sum()
    assert resident(path) >= tensor.nbytes
    release(tensor)
    assert resident(path) < tensor.nbytes // 8  # pages may be as large as 2 MiB, and those at the ends stay


def test_what_is_mapped(path, tmp_path):
    assert read(path).mapped
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert not read(tmp_path / "old.pt").mapped
    assert not from_object(STATE).mapped
