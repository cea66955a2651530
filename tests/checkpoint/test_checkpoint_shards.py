import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from checkpoint_trees import DTYPES, assert_same, random_buffer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from weightzip.checkpoint import (
    Layout,
    default_output,
    default_tensor_output,
    from_object,
    locate,
    output_format,
    read,
    specs_of,
    state_dict,
    write,
    written_bytes,
)
from weightzip.checkpoint.quiet import no_warnings
from weightzip.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsupportedCheckpointError,
)

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
STORABLE = [dtype for dtype in DTYPES if dtype not in (torch.complex32, torch.complex128)]


def write_index(folder, weight_map, **rest):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map} | rest))


@pytest.fixture
def folder(tmp_path):
    """Two shards whose tensors are not in alphabetical order, each with its own metadata; and a file that is no part of it."""
    path = tmp_path / "my model"
    path.mkdir()
    first = {"module.z": torch.randn(3, 4), "module.a": torch.arange(5)}
    second = {"module.m": torch.randn(2).bfloat16(), "module.b": torch.ones(2, 0), "module.s": torch.tensor(3.0)}
    for name, state, metadata in ((ONE, first, {"format": "pt", "x": "1"}), (TWO, second, None)):
        source = from_object(state)
        layout = Layout("safetensors", name, tree=source.layout.tree, prefix=source.layout.prefix, metadata=metadata)
        write(layout, source.tensors, path / name, "safetensors")
    write_index(path, dict.fromkeys(second, TWO) | dict.fromkeys(first, ONE), more=[{"deep": [[[[1.5]]]]}])
    (path / "config.json").write_text("{}")
    return path


def through_json(layout):
    return Layout.from_json(json.loads(json.dumps(layout.to_json())))


def restored(checkpoint, path):
    path.mkdir()
    write(through_json(checkpoint.layout), checkpoint.tensors, path, "shards")
    return path


def contents(path):
    """Keys in order with their tensors, and the metadata, of a .safetensors file."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.pop("__metadata__", None)
    tensors = load_file(path)
    return {key: tensors[key] for key in header}, metadata


def refused(path, error, *parts):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert type(caught.value) is error, message
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_folder_is_one_checkpoint(folder):
    checkpoint = read(folder)
    assert list(checkpoint.tensors) == ["z", "a", "m", "b", "s"]
    assert checkpoint.weights == {"z", "a", "m", "b", "s"}
    assert checkpoint.mapped
    assert (checkpoint.layout.format, checkpoint.layout.source_name) == ("shards", "my model")
    expected = {**load_file(folder / ONE), **load_file(folder / TWO)}
    state = state_dict(checkpoint.layout, checkpoint.tensors)
    assert_same(expected, {key: state[key] for key in expected})
    assert default_output(checkpoint.layout) == "my model"
    assert default_tensor_output(checkpoint.layout, "z") == "z.safetensors"


def test_folder_comes_back_as_the_same_shards(folder, tmp_path):
    again = restored(read(folder), tmp_path / "again")
    assert sorted(path.name for path in again.iterdir()) == [ONE, TWO, INDEX]
    for name in (ONE, TWO):
        (left, one), (right, other) = contents(folder / name), contents(again / name)
        assert one == other
        assert_same(left, right)
        assert (folder / name).read_bytes() == (again / name).read_bytes()
    assert json.loads((again / INDEX).read_text()) == json.loads((folder / INDEX).read_text())


def test_index_file_is_as_good_as_the_folder(folder, monkeypatch):
    by_folder = read(folder)
    assert read(folder / INDEX).layout == by_folder.layout
    monkeypatch.chdir(folder)
    assert read(".").layout == read(INDEX).layout == by_folder.layout


def test_linked_shards_are_read(folder, tmp_path):
    """As in the cache of huggingface_hub, where all files are links."""
    elsewhere = tmp_path / "blob"
    shutil.move(folder / ONE, elsewhere)
    (folder / ONE).symlink_to(elsewhere)
    assert "z" in read(folder).tensors


def test_shards_to_other_formats(folder, tmp_path):
    checkpoint = read(folder)
    expected = state_dict(checkpoint.layout, checkpoint.tensors)
    write(checkpoint.layout, checkpoint.tensors, tmp_path / "a.pt", "torch")
    assert_same(expected, torch.load(tmp_path / "a.pt"))
    write(checkpoint.layout, checkpoint.tensors, tmp_path / "a.safetensors", "safetensors")
    assert_same((expected, {"format": "pt"}), contents(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("name", "expected"), [("x.pt", "torch"), ("x.safetensors", "safetensors"), ("x", "shards"), ("my model", "shards")]
)
def test_format_follows_the_suffix(folder, name, expected):
    assert output_format(Path("out", name), read(folder).layout) == expected


def test_what_was_not_in_shards_cannot_be_written_so(tmp_path):
    checkpoint = from_object({"w": torch.ones(2)})
    with pytest.raises(CheckpointError, match="not in shards"):
        write(checkpoint.layout, checkpoint.tensors, tmp_path, "shards")


def test_written_bytes_of_shards(folder):
    checkpoint = read(folder)
    for fmt in ("torch", "safetensors", "shards"):
        assert written_bytes(checkpoint.layout, specs_of(checkpoint.tensors), fmt) == 12 * 4 + 5 * 8 + 2 * 2 + 4


def test_keys_that_look_like_an_optimizer(tmp_path):
    save_file({"state": torch.ones(2), "param_groups": torch.ones(1)}, tmp_path / ONE)
    write_index(tmp_path, {"state": ONE, "param_groups": ONE})
    checkpoint = read(tmp_path)
    assert checkpoint.weights == {"state", "param_groups"}
    assert set(state_dict(checkpoint.layout, checkpoint.tensors)) == {"state", "param_groups"}


def test_missing_shard(folder):
    (folder / TWO).unlink()
    refused(folder, CheckpointError, str(folder), f"shard {TWO} is missing")
    (folder / ONE).unlink()
    refused(folder, CheckpointError, f"shard {ONE} and 1 others are missing")


def test_shard_that_is_no_file(folder):
    (folder / TWO).unlink()
    os.mkfifo(folder / TWO)  # to open it would take for ever
    refused(folder, CheckpointError, f"shard {TWO} is missing")


@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:-1], lambda data: data[:20], lambda data: b"x" * 99])
def test_damaged_shard(folder, change):
    (folder / TWO).write_bytes(change((folder / TWO).read_bytes()))
    refused(folder, DamagedCheckpointError, str(folder / TWO))


@pytest.mark.parametrize("name", [INDEX, ONE])
def test_git_lfs_pointer(folder, name):
    """As a clone without Git LFS leaves it."""
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    refused(folder, CheckpointError, f"{name}: a Git LFS pointer", "git lfs pull")


def test_nothing_is_read_before_all_is_right(folder, monkeypatch):
    (folder / TWO).write_bytes((folder / TWO).read_bytes()[:-1])
    monkeypatch.setattr("weightzip.checkpoint.read_safetensors._tensors", lambda *_: pytest.fail("a tensor was read"))
    refused(folder, DamagedCheckpointError, TWO)


def test_tensor_that_the_index_lacks(folder):
    save_file({**load_file(folder / TWO), "extra": torch.ones(1)}, folder / TWO)
    refused(folder, DamagedCheckpointError, str(folder / TWO), "'extra'", "does not place there")


def test_tensor_that_the_shard_lacks(folder):
    save_file({"module.m": torch.ones(2)}, folder / TWO)
    refused(folder, DamagedCheckpointError, str(folder / TWO), "holds no tensor 'module.b'")


def test_tensor_in_two_shards(folder):
    save_file({**load_file(folder / TWO), "module.z": torch.ones(1)}, folder / TWO)
    refused(folder, DamagedCheckpointError, str(folder / TWO), "'module.z'", "does not place there")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        f'{{"weight_map": {{"a": "{ONE}", "a": "{TWO}"}}}}',
        '{"weight_map": {"a": "a.safetensors"}, "weight_map": {"a": "a.safetensors"}}',
        "[" * 100_000,
        "\x00\x01",
        '{"metadata": ' + "1" * 5000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_damaged_index(folder, text):
    (folder / INDEX).write_text(text)
    refused(folder, DamagedCheckpointError, INDEX)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/x.safetensors",
        "a/x.safetensors",
        "a\\x.safetensors",
        "C:x.safetensors",
        "..",
        "",
        "x.pt",
        ".safetensors",
        ".x.safetensors",
        "x\n.safetensors",
        "x\0.safetensors",
        "\ud800.safetensors",
        "ä" * 122 + ".safetensors",
    ],
)
def test_shard_whose_name_is_no_plain_one(folder, name):
    write_index(folder, {"a": name})
    refused(folder, CheckpointError, str(folder / INDEX), "is not the name of a .safetensors file beside it")


def test_shards_that_differ_in_letter_case(folder):
    write_index(folder, {"a": "x.safetensors", "b": "X.safetensors"})
    refused(folder, CheckpointError, "upper and lower case", "rename")


def test_folder_with_one_checkpoint(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "last.ckpt")
    (tmp_path / "config.json").touch()
    refused(tmp_path, CheckpointError, f"name the checkpoint in it: {tmp_path / 'last.ckpt'}")


def test_folder_without_its_index(folder):
    (folder / INDEX).unlink()
    refused(folder, CheckpointError, "several .safetensors files", "index", "is missing")


def test_folder_with_two_indexes(folder):
    shutil.copy(folder / INDEX, folder / "model.fp16.safetensors.index.json")
    refused(folder, CheckpointError, "model.fp16.safetensors.index.json, " + INDEX, "name one")
    assert read(folder / INDEX).tensors


def test_folder_of_nothing(tmp_path):
    refused(tmp_path, CheckpointError, "is a folder")


def test_shards_in_torchs_format(tmp_path):
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}))
    refused(tmp_path, UnsupportedCheckpointError, "shards in torch's format", "safe_serialization")
    refused(index, UnsupportedCheckpointError, "safe_serialization")


def test_missing_index():
    with pytest.raises(CheckpointError, match="no such file"):
        read("/nowhere/model.safetensors.index.json")


@st.composite
def sharded(draw):
    """States of up to three shards; keys may begin with a common prefix."""
    prefix = draw(st.sampled_from(["", "module."]))
    keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(lambda key: key != "__metadata__")
    names = draw(st.lists(keys, min_size=1, max_size=8, unique=True))
    shards = {}
    for name in names:
        dtype = draw(st.sampled_from(STORABLE))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        with no_warnings():
            tensor = random_buffer(dtype, draw(st.integers(0, 99)), 64)[: torch.Size(shape).numel()].reshape(shape)
        shards.setdefault(draw(st.integers(0, 2)), {})[prefix + name] = tensor
    metadata = st.none() | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.just("v"), max_size=2
    )
    return {f"s{number}.safetensors": (state, draw(metadata)) for number, state in shards.items()}


@settings(max_examples=60)
@given(sharded())
def test_any_shards_come_back(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("shards")
    for name, (state, metadata) in shards.items():
        save_file(state, folder / name, metadata=metadata)
    write_index(folder, {key: name for name, (state, _) in shards.items() for key in state})
    checkpoint = read(folder)
    again = restored(checkpoint, folder / "again")
    for name, (state, metadata) in shards.items():
        assert_same(contents(folder / name)[0], contents(again / name)[0])
        with safe_open(again / name, "pt") as file:
            assert file.metadata() == metadata
        assert_same(state, {key: contents(again / name)[0][key] for key in state})
    assert json.loads((again / INDEX).read_text()) == json.loads((folder / INDEX).read_text())
    keys = [key for name in sorted(shards) for key in contents(folder / name)[0]]
    assert list(locate(checkpoint.layout, specs_of(checkpoint.tensors))) == keys
