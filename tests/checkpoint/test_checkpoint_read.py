import contextlib
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict, defaultdict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightzip.checkpoint import from_object, read, rebuild
from weightzip.checkpoint.layout import MAX_JSON_DEPTH
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.tree import json_depth
from weightzip.errors import CheckpointError, DamagedCheckpointError, UnsafeCheckpointError, UnsupportedCheckpointError


class Custom:
    pass


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model.pt"


def refused(path, error, *parts):
    """Reading `path` raises exactly this error: one line that names the file and has all the parts in it."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message


def test_missing_file(path):
    refused(path, CheckpointError, "no such file")


def test_folder(tmp_path):
    refused(tmp_path, CheckpointError, "is a folder")


def test_empty_file(path):
    path.touch()
    refused(path, DamagedCheckpointError, "is empty")


def test_name_that_no_file_can_have():
    with pytest.raises(CheckpointError, match="cannot be read"):
        read("a\0b")


@pytest.mark.parametrize("content", [b"hello, this is text\n" * 20, bytes(range(256)) * 20, b"\x80", b"<html>", b"0"])
def test_what_is_no_checkpoint(path, content):
    path.write_bytes(content)
    refused(path, CheckpointError, "not a checkpoint")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_truncated_torch_file(path, part, legacy):
    torch.save({"w": torch.randn(3000), "v": torch.randn(40)}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, DamagedCheckpointError, "truncated or damaged")


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


def test_pickle_protocol_that_the_safe_loader_lacks(path):
    torch.save(OrderedDict(w=torch.ones(2)), path, pickle_protocol=4)
    refused(path, UnsupportedCheckpointError, "pickle protocol 4", "torch.save it again")


def test_torchscript(path):
    with no_warnings():
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    refused(path, UnsupportedCheckpointError, "TorchScript", "state_dict()")


def test_exported_program(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
    refused(path, UnsupportedCheckpointError, "torch.export")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:", "ONNX"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"GGUF\x03" + bytes(100), "GGUF"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
        (b"\x93NUMPY\x01\0" + bytes(100), "NumPy"),
    ],
)
def test_file_of_another_kind(path, content, kind):
    path.write_bytes(content)
    refused(path, UnsupportedCheckpointError, kind, "; ")


def test_onnx_by_name(tmp_path):
    path = tmp_path / "model.ONNX"
    path.write_bytes(b"anything")
    refused(path, UnsupportedCheckpointError, "ONNX")


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_tensor(path, layout):
    with no_warnings():
        torch.save({"model": {"w": torch.eye(3).to_sparse(layout=layout)}}, path)
    refused(path, UnsupportedCheckpointError, "sparse", "'model.w'", "to_dense")


def test_quantised_tensor(path):
    with no_warnings():
        torch.save({"w": torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)}, path)
    refused(path, UnsupportedCheckpointError, "quantised", "qint8", "'w'", "dequantize")


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensor(path, layout):
    with no_warnings():
        tree = {"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)}
        torch.save(tree, path)
    refused(path, UnsupportedCheckpointError, "nested tensor", "unbind")
    with pytest.raises(UnsupportedCheckpointError, match=r"nested tensor at 'w'; .unbind\(\) it"):
        from_object(tree)


def test_tensor_without_data(path):
    torch.save({"w": torch.ones(3, device="meta")}, path)
    refused(path, UnsupportedCheckpointError, "meta", "'w'")


def test_dtype_below_one_byte():
    with pytest.raises(UnsupportedCheckpointError, match=r"int4.*'w'"):
        from_object({"w": torch.empty(3, dtype=torch.int4)})


def test_subclass_of_tensor():
    with pytest.raises(UnsupportedCheckpointError, match=r"UninitializedParameter at 'weight'"):
        from_object(nn.LazyLinear(3))


@pytest.mark.parametrize("value", [Custom(), defaultdict(int), slice(3), "\ud800", object, frozenset(), torch.qint8])
def test_value_that_cannot_be_stored(value):
    with pytest.raises(UnsupportedCheckpointError, match=r"'args\.1'"):
        from_object({"w": torch.ones(2), "args": [0, value]})


@pytest.mark.parametrize("key", [Custom(), torch.ones(2), "\ud800", (1, (2, frozenset()))])
def test_key_that_cannot_be_stored(key):
    with pytest.raises(UnsupportedCheckpointError):
        from_object({"w": torch.ones(2), "args": {key: 1}})


def test_a_name_that_is_no_text_is_named():
    with pytest.raises(UnsupportedCheckpointError, match=r"'a\\udc80' is not valid Unicode"):
        from_object({"a\udc80": torch.ones(2)})
    state = OrderedDict(w=torch.ones(2))
    state._metadata = OrderedDict({"": {"version": 1}, "\udc80": {"version": 1}})
    with pytest.raises(UnsupportedCheckpointError, match=r"'\\udc80' is not valid Unicode"):
        from_object(state)


@pytest.mark.parametrize("name", [b"\xff.pt", b"\xff.safetensors"])
def test_a_file_name_that_is_no_text(path, name):
    odd = path.with_name(os.fsdecode(name))
    odd.write_bytes(b"anything")
    refused(odd, CheckpointError, "not valid Unicode", "rename the file")


def test_attributes_that_would_be_lost():
    state = OrderedDict(w=torch.ones(2))
    state.version = 3
    with pytest.raises(UnsupportedCheckpointError, match="version"):
        from_object({"model": state})


def test_tensor_in_the_metadata_of_a_state_dict():
    state = OrderedDict(w=torch.ones(2))
    state._metadata = OrderedDict({"": {"version": torch.ones(1)}})
    with pytest.raises(UnsupportedCheckpointError, match="where none can be stored"):
        from_object(state)


def test_endless_nesting():
    tree = [torch.ones(1)]
    tree.append(tree)
    with pytest.raises(UnsupportedCheckpointError, match="deeper than 64"):
        from_object(tree)


def test_nesting_that_takes_more_json_than_a_header_has_room_for():
    def tower(levels):
        tree = torch.ones(1)
        for _ in range(levels):
            tree = {"w": torch.ones(1), "below": tree}
        return tree

    assert json_depth(from_object(tower(61)).layout.to_json()) <= MAX_JSON_DEPTH
    with pytest.raises(UnsupportedCheckpointError, match="nested too deeply"):
        from_object(tower(63))


def test_nesting_up_to_the_limit():
    tree = torch.ones(1)
    for _ in range(64):
        tree = {"a": tree}
    checkpoint = from_object(tree)
    assert rebuild(checkpoint.layout, checkpoint.tensors) == tree
    with pytest.raises(UnsupportedCheckpointError, match="deeper than 64"):
        from_object([tree])


def test_container_that_multiplies(monkeypatch):
    monkeypatch.setattr("weightzip.checkpoint.places.MAX_NODES", 1000)
    tree = [torch.ones(1)]
    for _ in range(40):
        tree = [tree, tree]
    with pytest.raises(UnsupportedCheckpointError, match="more than 1,000 values"):
        from_object(tree)


def test_too_many_tensors(monkeypatch):
    monkeypatch.setattr("weightzip.checkpoint.places.MAX_TENSORS", 10)
    with pytest.raises(UnsupportedCheckpointError, match="more than 10 tensors"):
        from_object([torch.ones(1)] * 11)


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
