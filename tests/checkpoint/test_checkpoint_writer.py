import errno
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from checkpoint_trees import DTYPES, UNPRINTABLE, assert_same, assert_same_aliasing, bits, random_buffer, trees
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from weightzip.checkpoint import (
    Layout,
    from_object,
    open_writer,
    read,
    specs_of,
    state_dict,
    write,
)
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.raw import byte_blocks
from weightzip.checkpoint.torch_file import TorchFile, stand_ins
from weightzip.errors import CheckpointError, FormatError, UnsupportedCheckpointError
from weightzip.interface import TensorSpec

FORMATS = ["torch", "safetensors"]


def written(checkpoint, path, fmt, order=list):
    """The file's bytes, its tensors put in some order."""
    with open_writer(checkpoint.layout, specs_of(checkpoint.tensors), path, fmt) as writer:
        for name in order(checkpoint.tensors):
            writer.put(name, checkpoint.tensors[name])
    return path.read_bytes()


def shuffled(names):
    return random.Random(3).sample(list(names), len(names))


def loaded(path, **options):
    with no_warnings():
        return torch.load(path, weights_only=True, **options)


SHARED = torch.arange(24.0)
TREE = {
    "model": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(),
    "shared": [SHARED.view(4, 6), SHARED[3:9], SHARED.view(4, 6).t(), nn.Parameter(SHARED[::2])],
    "empty": torch.ones(3, 0),
    "scalar": torch.tensor(2, dtype=torch.uint16),
    "empties": [torch.empty(0, dtype=torch.int8), torch.empty(0)],
    "epoch": 3,
}


@pytest.mark.parametrize("fmt", FORMATS)
def test_order_and_name_do_not_matter(tmp_path, fmt):
    checkpoint = from_object(TREE)
    assert written(checkpoint, tmp_path / "a", fmt) == written(checkpoint, tmp_path / "b", fmt, shuffled)


@settings(max_examples=60)
@given(trees())
def test_any_tree_is_a_whole_archive(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("torch") / "a.pt"
    checkpoint = from_object(tree)
    layout = Layout.from_json(json.loads(json.dumps(checkpoint.layout.to_json())))
    with no_warnings():
        write(layout, checkpoint.tensors, path, "torch")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    for mapped in (False, True):
        restored = loaded(path, mmap=mapped)
        assert_same(tree, restored)
        assert_same_aliasing(tree, restored)


@settings(max_examples=60)
@given(trees())
def test_any_state_dict_is_a_safetensors_file(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("safetensors") / "a.safetensors"
    checkpoint = from_object(tree)
    state = state_dict(checkpoint.layout, checkpoint.tensors)
    try:
        write(checkpoint.layout, checkpoint.tensors, path, "safetensors")
    except (UnsupportedCheckpointError, CheckpointError):
        assert not state or any(tensor.dtype in (torch.complex32, torch.complex128) for tensor in state.values())
        return
    result = load_file(path)
    assert {key: (tensor.dtype, tensor.shape, bits(tensor)) for key, tensor in result.items()} == {
        key: (tensor.dtype, tensor.shape, bits(tensor)) for key, tensor in state.items()
    }
    again = read(path)
    assert list(state_dict(again.layout, again.tensors)) == list(state)


def test_stand_ins_take_no_memory():
    """Not even where the system counts what a process has asked for."""
    code = (
        "import resource, torch\n"
        "from weightzip.checkpoint.torch_file import stand_ins\n"
        "from weightzip.interface import TensorSpec\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 31))\n"
        "found = stand_ins([TensorSpec(str(i), (1 << 33,), 'bfloat16') for i in range(16)])\n"
        "print(len({tensor.data_ptr() for tensor in found.values()}), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    count, resident = map(int, run.stdout.split())
    assert count == 16
    assert resident < 2 << 20


@pytest.mark.parametrize("fmt", FORMATS)
def test_each_tensor_once(tmp_path, fmt):
    checkpoint = from_object({"a": torch.ones(2), "b": torch.ones(2)})
    specs = specs_of(checkpoint.tensors)
    with (
        pytest.raises(FormatError, match="1 tensors were not written, such as 'b'"),
        open_writer(checkpoint.layout, specs, tmp_path / "x", fmt) as writer,
    ):
        writer.put("a", torch.ones(2))
    with open_writer(checkpoint.layout, specs, tmp_path / "x", fmt) as writer:
        writer.put("a", torch.ones(2))
        for name in ("a", "c"):
            with pytest.raises(FormatError, match=f"{name!r} is unknown, or was written already"):
                writer.put(name, torch.ones(2))
        writer.put("b", torch.ones(2))


def test_error_in_the_block_is_the_error(tmp_path):
    checkpoint = from_object({"a": torch.ones(2)})
    with (
        pytest.raises(KeyError, match="mine"),
        open_writer(checkpoint.layout, specs_of(checkpoint.tensors), tmp_path / "x", "torch"),
    ):
        raise KeyError("mine")


@pytest.mark.parametrize("tensor", [torch.ones(3), torch.ones(2, 1), torch.ones(2).half(), torch.ones(2).int()])
def test_tensor_that_is_not_what_was_said(tmp_path, tensor):
    checkpoint = from_object({"a": torch.ones(2)})
    with (
        pytest.raises(FormatError, match=r"tensor 'a' is .* but should be"),
        open_writer(checkpoint.layout, specs_of(checkpoint.tensors), tmp_path / "x", "torch") as writer,
    ):
        writer.put("a", tensor)


def test_two_tensors_of_one_name(tmp_path):
    checkpoint = from_object({"a": torch.ones(2), "b": torch.ones(2)})
    specs = [TensorSpec("a", (2,), "float32")] * 2
    with (
        pytest.raises(FormatError, match="two tensors of one name"),
        open_writer(checkpoint.layout, specs, tmp_path / "x", "torch"),
    ):
        pytest.fail("opened")


def test_more_memory_than_a_process_can_address(tmp_path):
    layout = from_object({"a": torch.ones(1), "b": torch.ones(1)}).layout
    specs = [TensorSpec(name, (1 << 50,), "complex128") for name in "ab"]
    with pytest.raises(OSError), open_writer(layout, specs, tmp_path / "x", "torch"):  # noqa: PT011  # systems differ
        pytest.fail("opened")


@pytest.mark.parametrize("fmt", FORMATS)
def test_threads_may_write_together(tmp_path, fmt):
    state = {f"w{i}": torch.full((300, 70), float(i)) for i in range(40)}
    checkpoint = from_object(state)
    with (
        open_writer(checkpoint.layout, specs_of(state), tmp_path / "x", fmt) as writer,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(writer.put, state, state.values()))
    assert (tmp_path / "x").read_bytes() == written(checkpoint, tmp_path / "y", fmt)


@pytest.mark.parametrize("metadata", [None, {}, {"ä": "\u2028"}])
def test_same_bytes_as_the_library(tmp_path, metadata):
    """Where the library's own order, by dtype and name, is the source's."""
    state = {"a": torch.randn(3, 5), "ü": torch.randn(()), "z": torch.randn(0, 2), "b8": torch.ones(3, dtype=torch.int8)}
    save_file(
        state, tmp_path / "theirs.safetensors", metadata=metadata if metadata is None else dict(list(metadata.items())[:1])
    )
    checkpoint = read(tmp_path / "theirs.safetensors")
    assert written(checkpoint, tmp_path / "ours.safetensors", "safetensors") == (tmp_path / "theirs.safetensors").read_bytes()


def test_metadata_keeps_its_order(tmp_path):
    """The library gives it in an order that differs from run to run."""
    metadata = {f"key {i}": "x" for i in range(20)}
    layout = Layout("safetensors", "x.safetensors", metadata=metadata)
    write(layout, {"w": torch.ones(1)}, tmp_path / "x.safetensors", "safetensors")
    assert list(read(tmp_path / "x.safetensors").layout.metadata) == list(metadata)


@pytest.mark.parametrize("dtype", [*DTYPES, UNPRINTABLE], ids=str)
def test_every_dtype_in_safetensors(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    with no_warnings():
        checkpoint = from_object({"w": random_buffer(dtype, 1).reshape(6, 8), "e": torch.empty(2, 0, dtype=dtype)})
    if dtype in (torch.complex32, torch.complex128):
        with pytest.raises(UnsupportedCheckpointError, match=rf"cannot hold {dtype}; write a \.pt file"):
            write(checkpoint.layout, checkpoint.tensors, path, "safetensors")
        return
    write(checkpoint.layout, checkpoint.tensors, path, "safetensors")
    assert_same(checkpoint.tensors, read(path).tensors)


def test_packed_dtype_without_axes_is_refused(tmp_path):
    with no_warnings():
        checkpoint = from_object({"w": torch.zeros(1, dtype=torch.uint8).view(UNPRINTABLE)[0]})
    with pytest.raises(UnsupportedCheckpointError, match=r"write a \.pt file"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path / "x", "safetensors")


def test_name_that_safetensors_has_taken(tmp_path):
    checkpoint = from_object({"__metadata__": torch.ones(2)})
    with pytest.raises(UnsupportedCheckpointError, match=r"'__metadata__'; write a \.pt file"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path / "x", "safetensors")


@given(st.data())
def test_blocks_are_the_values(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    order = data.draw(st.permutations(range(len(shape))))
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int16).reshape(shape).permute(order)
    tensor = tensor.unsqueeze(-1).expand(*tensor.shape, data.draw(st.integers(1, 3)))
    block_bytes = data.draw(st.integers(2, 40))
    blocks = list(byte_blocks(tensor, block_bytes))
    assert b"".join(blocks) == bits(tensor)
    assert all(0 < len(block) <= block_bytes for block in blocks)


def test_expanded_tensor_is_not_written_from_a_copy(tmp_path):
    """1 GiB of zeros out of one element, in a process that may have far less memory than that to itself."""
    code = (
        "import resource, sys, torch, pathlib, weightzip.checkpoint as c\n"
        "source = c.from_object({'w': torch.ones(1).expand(1 << 13, 1 << 13)})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "c.write(source.layout, source.tensors, pathlib.Path(sys.argv[1]), 'safetensors')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    path = tmp_path / "x"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert path.stat().st_size > 1 << 28
    assert int(run.stdout) < 100 << 10


def test_disk_that_cannot_reserve_space(tmp_path, monkeypatch):
    def impossible(*_):
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", impossible)
    for fmt in FORMATS:
        checkpoint = from_object({"w": torch.randn(1000)})
        written(checkpoint, tmp_path / "x", fmt)
        assert torch.equal(read(tmp_path / "x").tensors["w"], checkpoint.tensors["w"])


def test_torch_that_lays_files_out_otherwise_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda tree, file: zipfile.ZipFile(file, "w").writestr("a/data/0", b"xyz"))
    checkpoint = from_object({"w": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"lays files out in an unknown way; write a \.safetensors"):
        written(checkpoint, tmp_path / "x", "torch")


@pytest.mark.slow
def test_records_beyond_four_gibibytes(tmp_path, monkeypatch):
    """Left as holes but for their ends: the offsets and checksums of zip64 are what is tested."""
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)
    specs = [
        TensorSpec("a", ((4 << 30) + 64,), "uint8"),
        TensorSpec("b", (7,), "float32"),
        TensorSpec("c", (4 << 30,), "uint8"),
        TensorSpec("d", (3,), "float32"),
    ]
    layout = from_object({spec.name: torch.empty(0) for spec in specs}).layout
    path = tmp_path / "x.pt"
    file = TorchFile(layout, specs, path)
    file.put("b", torch.arange(7.0))
    file.put("d", torch.arange(3.0))
    zeros = bytes(1 << 26)
    for name, num_bytes in (("a", (4 << 30) + 64), ("c", 4 << 30)):
        checksum = 0
        for _ in range(num_bytes >> 26):
            checksum = zlib.crc32(zeros, checksum)
        checksum = zlib.crc32(bytes(num_bytes & ((1 << 26) - 1)), checksum)
        with path.open("r+b") as handle:
            for place in file._records[name].checksums:
                handle.seek(place)
                handle.write(struct.pack("<L", checksum))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    state = loaded(path, mmap=True)
    assert [tuple(tensor.shape) for tensor in state.values()] == [spec.shape for spec in specs]
    assert state["b"].tolist() == list(range(7))
    assert state["d"].tolist() == [0, 1, 2]


@pytest.mark.slow
@settings(max_examples=1500)
@given(trees())
def test_very_many_trees(tmp_path_factory, tree):
    test_any_tree_is_a_whole_archive.hypothesis.inner_test(tmp_path_factory, tree)
    test_any_state_dict_is_a_safetensors_file.hypothesis.inner_test(tmp_path_factory, tree)


def test_stand_ins_have_storages_of_their_own():
    specs = [TensorSpec("a", (3,), "bool"), TensorSpec("b", (0, 2), "float16"), TensorSpec("c", (), "complex64")]
    found = stand_ins(specs)
    assert [(tuple(t.shape), t.dtype, t.untyped_storage().nbytes()) for t in found.values()] == [
        ((3,), torch.bool, 3),
        ((0, 2), torch.float16, 0),
        ((), torch.complex64, 8),
    ]
    assert stand_ins([]) == {}
