import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from weightzip.checkpoint import from_object, read, release
from weightzip.devices import physical_memory
from weightzip.errors import UnsupportedCheckpointError


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


def test_strided_tensors_are_not_copied_when_they_are_read(tmp_path):
    wide = torch.arange(6000, dtype=torch.float32).reshape(60, 100)
    tree = {
        "turned": wide.mT,
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part": wide.clone()[:, 10:20],
    }
    torch.save(tree, tmp_path / "model.pt")
    checkpoint = read(tmp_path / "model.pt")
    for name, tensor in tree.items():
        assert checkpoint.tensors[name].stride() == tensor.stride()
        assert torch.equal(checkpoint.dense(name), tensor)
        assert checkpoint.dense(name).is_contiguous()


def write_header(path, header, *, odd=False):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + odd)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return 8 + len(text)


def test_values_that_do_not_lie_as_torch_needs_them(tmp_path):
    tensor = torch.randn(5, 3)
    start = write_header(
        tmp_path / "odd.safetensors", {"w": {"dtype": "F32", "shape": [5, 3], "data_offsets": [0, 60]}}, odd=True
    )
    assert start % 4
    with (tmp_path / "odd.safetensors").open("ab") as file:
        file.write(tensor.numpy().tobytes())
    assert torch.equal(read(tmp_path / "odd.safetensors").tensors["w"], tensor)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files with holes may take space")
def test_a_file_larger_than_memory(tmp_path):
    size = 4 * physical_memory()
    start = write_header(tmp_path / "huge.safetensors", {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    os.truncate(tmp_path / "huge.safetensors", start + size)
    assert read(tmp_path / "huge.safetensors").tensors["w"][size - 1] == 0


def test_a_dtype_that_torch_lacks(tmp_path):
    start = write_header(tmp_path / "new.safetensors", {"w": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}})
    os.truncate(tmp_path / "new.safetensors", start + 3)
    with pytest.raises(UnsupportedCheckpointError, match="F6_E2M3"):
        read(tmp_path / "new.safetensors")
