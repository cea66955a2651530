import contextlib
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from checkpoint_refusals import refused
from safetensors.torch import save_file
from torch import nn

from weightzip.checkpoint import read, rebuild
from weightzip.checkpoint.quiet import no_warnings
from weightzip.errors import CheckpointError, DamagedCheckpointError, UnsafeCheckpointError, UnsupportedCheckpointError


class Custom:
    pass


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


def test_missing_file(path):
    refused(path, CheckpointError, "no such file")


def test_folder(tmp_path):
    refused(tmp_path, CheckpointError, "is a folder")


def test_empty_file(path):
    path.touch()
    refused(path, DamagedCheckpointError, "is empty")


@pytest.mark.parametrize("name", ["a\0b.pt", "a" * 300 + ".pt", "a" * 300 + ".safetensors", f"{'a' * 300}/model.pt"])
def test_name_that_no_file_can_have(name):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read(name)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.safetensors.index.json"])
def test_a_pipe_is_refused_unopened(tmp_path, name):
    """Opening it would wait for somebody to write into it."""
    path = tmp_path / name
    os.mkfifo(path)
    refused(path, CheckpointError, "is no file; name a checkpoint")


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="this system has no /dev/zero")
def test_a_device_is_refused_unread():
    refused(Path("/dev/zero"), CheckpointError, "is no file; name a checkpoint")


@pytest.mark.parametrize("content", [b"hello, this is text\n" * 20, bytes(range(256)) * 20, b"\x80", b"(text", b"0"])
def test_what_is_no_checkpoint(path, content):
    path.write_bytes(content)
    refused(path, CheckpointError, "not a checkpoint: written neither")


def test_what_is_no_checkpoint_is_not_read_to_its_end(path, monkeypatch):
    """Such as a file to which a download was to come."""
    path.touch()
    os.truncate(path, 600 << 20)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was read"))
    refused(path, CheckpointError, "not a checkpoint: written neither")


@pytest.mark.parametrize(("legacy", "protocol"), [(False, 2), (True, 2), (True, 3)])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_truncated_torch_file(path, part, legacy, protocol):
    tree = {"w": torch.randn(3000), "v": torch.randn(40)}
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, DamagedCheckpointError, "truncated or damaged")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap 9 bytes from file <x>: Invalid argument (22)")])
def test_too_little_memory_is_no_damage(tmp_path, monkeypatch, name, error):
    class Failing:
        def __init__(self, *args, **kwargs):
            raise error

    path = tmp_path / name
    torch.save({"w": torch.ones(2)}, path) if name == "model.pt" else save_file({"w": torch.ones(2)}, path)
    monkeypatch.setattr(torch, "load", Failing)
    monkeypatch.setattr("weightzip.checkpoint.read_safetensors.safe_open", Failing)
    refused(path, CheckpointError, "cannot be mapped into memory", "use a machine with more memory")


def test_archive_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hi")
    refused(path, CheckpointError, "not one that torch.save wrote")


def test_no_tensor_in_it(path):
    torch.save({"epoch": 3}, path)
    refused(path, CheckpointError, "no tensor")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_of_an_object(path, legacy, protocol):
    tree = {"w": torch.ones(2), "config": Custom()}
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    refused(path, UnsafeCheckpointError, "Custom", "state dict")


def test_pickle_of_a_whole_module(path):
    torch.save(nn.Linear(2, 2), path)
    refused(path, UnsafeCheckpointError, "torch.nn.modules.linear.Linear", "state dict")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "save", [torch.save, lambda tree, path, pickle_protocol: path.write_bytes(pickle.dumps(tree, pickle_protocol))]
)
def test_pickle_that_runs_a_command(path, save, protocol):
    save({"w": Attack()}, path, pickle_protocol=protocol)
    refused(path, UnsafeCheckpointError, "system")
    assert not (path.parent / "attacked").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_protocol_that_the_safe_loader_lacks(path, legacy):
    """Half of the names in such a pickle are references to the other half."""
    tree = OrderedDict(w=torch.ones(2), h=torch.ones(2).half(), p=nn.Parameter(torch.ones(2)))
    torch.save(tree, path, pickle_protocol=4, _use_new_zipfile_serialization=not legacy)
    refused(path, UnsupportedCheckpointError, "pickle protocol 4", "torch.save it again")


def test_code_in_such_a_pickle_is_called_by_its_name(path):
    torch.save({"w": torch.ones(2), "h": torch.ones(2).half(), "a": slice(3), "b": Attack()}, path, pickle_protocol=4)
    refused(path, UnsafeCheckpointError, "it asks for builtins.slice;")
    torch.save([Attack(), os.getcwd], path, pickle_protocol=4)
    refused(path, UnsafeCheckpointError, f"it asks for {os.system.__module__}.system;")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("tree", [{"a": 1}, [OrderedDict(a="b", c=[2.5, True])]])
def test_plain_pickle(path, tree, protocol):
    path.write_bytes(pickle.dumps(tree, protocol))
    refused(path, CheckpointError, "a plain pickle, which torch.save did not write", "save its tensors")


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickle_of_tensors(path, protocol):
    """Each brings a whole file of torch's, which its loader would be asked to load without care."""
    path.write_bytes(pickle.dumps({"w": torch.ones(2)}, protocol))
    refused(path, UnsafeCheckpointError, "it asks for torch.storage._load_from_bytes;")


@pytest.mark.parametrize("protocol", [2, 4])
def test_truncated_plain_pickle(path, protocol):
    path.write_bytes(pickle.dumps({"a": list(range(100))}, protocol)[:-40])
    with pytest.raises(CheckpointError, match=r"truncated or damaged|not a checkpoint"):
        read(path)


def test_damage_to_the_first_bytes_of_an_old_torch_file(path):
    torch.save({"w": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data[:6] + b"?" + data[7:])
    refused(path, DamagedCheckpointError, "truncated or damaged")


def test_torchscript(path):
    with no_warnings():
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    refused(path, UnsupportedCheckpointError, "TorchScript", "state_dict()")


def test_exported_program(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    refused(path, UnsupportedCheckpointError, "torch.export")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", "ONNX"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"GGUF\x03" + bytes(100), "GGUF"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
        (b"\x93NUMPY\x01\0" + bytes(100), "NumPy"),
        (b"\x1f\x8b\x08\0" + bytes(100), "gzip"),
        (b"model.pt".ljust(257, b"\0") + b"ustar", "tar"),
    ],
)
def test_file_of_another_kind(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, UnsupportedCheckpointError, kind, "; ")


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<html>", b"\n\n  <HTML lang=en>", b"\xef\xbb\xbf<!doctype html>"])
def test_html_page(tmp_path, name, page):
    path = tmp_path / name
    path.write_bytes(page)
    refused(path, CheckpointError, "an HTML page", "download it again")


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors"])
def test_git_lfs_pointer(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    refused(path, CheckpointError, "a Git LFS pointer", "git lfs pull")


def test_onnx_by_name(tmp_path):
    path = tmp_path / "model.ONNX"
    path.write_bytes(b"anything")
    refused(path, UnsupportedCheckpointError, "ONNX")


def test_compressed_archive_is_read_right(path):
    """Mapped from the file, a compressed record would give wrong weights without any error."""
    weight = torch.arange(5000.0)
    torch.save({"w": weight}, "stored.pt")
    with zipfile.ZipFile("stored.pt") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert torch.equal(read(path).tensors["w"], weight)


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"z": torch.ones(2), "a": torch.zeros(2, 2, dtype=torch.int8)}, path, metadata={"format": "pt", "x": "y"})
    checkpoint = read(path)
    assert checkpoint.layout.to_json() == {
        "format": "safetensors",
        "name": "model.safetensors",
        "metadata": {"format": "pt", "x": "y"},
    }
    assert {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()} == {"z": (2,), "a": (2, 2)}


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_file_that_is_called_safetensors(tmp_path, legacy):
    path = tmp_path / "model.safetensors"
    torch.save({"w": torch.arange(5)}, path, _use_new_zipfile_serialization=not legacy)
    checkpoint = read(path)
    assert checkpoint.layout.format == "torch"
    assert torch.equal(checkpoint.tensors["w"], torch.arange(5))


@pytest.mark.parametrize("length", [0x088B1F, 0x120108, 0x0280])
def test_safetensors_that_begin_like_something_else(tmp_path, length):
    """Their first bytes are the length of the header, which looks like gzip, ONNX or a pickle here."""
    header = {"__metadata__": {"x": ""}, "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    header["__metadata__"]["x"] = "x" * (length - len(json.dumps(header)))
    path = tmp_path / "model.safetensors"
    safetensors_file(path, header, b"7")
    assert read(path).tensors["w"].tolist() == [55]
    path.write_bytes(path.read_bytes()[:300])
    refused(path, DamagedCheckpointError, "truncated or damaged")


def safetensors_file(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_safetensors_keys_come_in_header_order(tmp_path):
    path = tmp_path / "misnamed.bin"
    entry = {"dtype": "U8", "shape": [2]}
    header = {name: entry | {"data_offsets": [2 * i, 2 * i + 2]} for i, name in enumerate("zba")}
    safetensors_file(path, header, b"012345")
    checkpoint = read(path)
    assert checkpoint.layout.format == "safetensors"
    assert {name: tensor.tolist() for name, tensor in checkpoint.tensors.items()} == {
        "z": [48, 49],
        "b": [50, 51],
        "a": [52, 53],
    }
    assert list(checkpoint.tensors) == ["z", "b", "a"]


def test_safetensors_with_a_name_twice(tmp_path):
    path = tmp_path / "model.safetensors"
    entry = '"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = f"{{{entry},{entry}}}".encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    refused(path, DamagedCheckpointError, "truncated or damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:5],
        lambda data: data[:30],
        lambda data: data[:-3],
        lambda data: data + b"x",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda data: data.replace(b"F32", b"X32"),
        lambda data: b"not one at all" * 50,
    ],
)
def test_invalid_safetensors(tmp_path, change):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(3)}, path)
    path.write_bytes(change(path.read_bytes()))
    refused(path, DamagedCheckpointError, "truncated or damaged")


def test_safetensors_without_tensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({}, path)
    refused(path, CheckpointError, "no tensor")


def test_reading_leaves_the_file_alone(path):
    torch.save({"w": torch.randn(50)}, path)
    before = path.read_bytes()
    rebuild(read(path).layout, {"w": torch.zeros(50)})["w"].fill_(1)
    read(path).tensors["w"].fill_(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize("legacy", [False, True])
def test_damage_anywhere_is_refused_or_harmless(path, legacy):
    """One byte of a small file changed, at each of many places: an error of ours, or some checkpoint; nothing else."""
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 3}, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        with contextlib.suppress(CheckpointError):
            read(path)
