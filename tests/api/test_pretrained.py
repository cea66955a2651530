"""Folders as Hugging Face's libraries have them, with a .wz file in the place of the weights, and back."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hub_server import INDEX, packed, sharded
from safetensors.torch import load_file

import weightzip
from weightzip.checkpoint import main_file, read
from weightzip.cli.main import execute
from weightzip.container import pack, unpack
from weightzip.errors import (
    CheckpointError,
    DamagedFileError,
    LimitError,
    OutputError,
    TargetError,
    UnsupportedCheckpointError,
    UsageError,
)
from weightzip.hub import compress_pretrained, from_pretrained, restore_pretrained

SMALL = {
    "config.json": b'{"model_type": "bert"}',
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b'{"pooling": "mean"}',
    "modeling.py": b"raise SystemExit('never run')",
    ".gitattributes": b"*.safetensors filter=lfs",
}


def lay_out(folder, files):
    for name, data in files.items():
        place = Path(folder) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture
def bert(folder):
    lay_out("bert", {**SMALL, "model.safetensors": packed("a", "b")})
    return folder / "bert"


def test_there_and_back(bert):
    before = files_of(bert)
    result = compress_pretrained("bert", "small", lossless=True)
    assert files_of("small").keys() == {*SMALL, "model.wz"}
    assert (result.folder, result.left_out) == (Path("small"), ())
    assert (result.summary["input"], result.summary["output"]) == ("bert", "small/model.wz")
    assert restore_pretrained("small", "back") == Path("back")
    assert files_of("back") == before == files_of(bert)


def test_weights_are_those_that_restore_gives(bert):
    compress_pretrained(bert, "small", ratio=3)
    restored = weightzip.restore("small/model.wz")
    written = load_file(restore_pretrained("small", "back") / "model.safetensors")
    assert all(torch.equal(written[name], restored[name]) for name in ("a", "b"))


def test_shards(folder):
    lay_out("bert", {**sharded(), **SMALL})
    compress_pretrained("bert", "small", lossless=True)
    assert files_of("small").keys() == {*SMALL, "model.wz"}
    back, before = files_of(restore_pretrained("small", "back")), files_of("bert")
    assert json.loads(back.pop(INDEX)) == json.loads(before.pop(INDEX))
    assert back == before


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.safetensors"])
def test_other_names(folder, name):
    lay_out("bert", SMALL)
    if name.endswith(".bin"):
        torch.save({"a": torch.ones(4, 4)}, Path("bert") / name)
    else:
        lay_out("bert", {name: packed("a")})
    compress_pretrained("bert", "small")
    assert files_of(restore_pretrained("small", "back")).keys() == {*SMALL, name}


@pytest.mark.parametrize(
    ("names", "main"),
    [
        (["model.safetensors", "pytorch_model.bin", "consolidated.safetensors"], "model.safetensors"),
        (["model.safetensors", INDEX, "model-1-of-1.safetensors"], INDEX),
        (["model.fp16.safetensors.index.json", INDEX], None),
        (["a.safetensors", "pytorch_model.bin"], "a.safetensors"),
        (["a.safetensors", "b.safetensors", "pytorch_model.bin"], None),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["last.ckpt"], None),
        ([], None),
    ],
)
def test_which_file_is_the_model(names, main):
    assert main_file(names) == main


def test_a_folder_around_one_file_is_read_as_that_file(bert):
    whole, alone = read(bert), read(bert / "model.safetensors")
    assert whole.layout == alone.layout
    assert whole.tensors.keys() == alone.tensors.keys()
    shutil.copy(bert / "model.safetensors", bert / "a.safetensors")
    (bert / "model.safetensors").rename(bert / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"several \.safetensors files"):
        read(bert)


def test_what_is_left_out_is_said(bert):
    others = ("optimizer.pt", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "openvino/openvino_model.bin")
    lay_out(bert, {**dict.fromkeys(others, b"the same again"), ".cache/x": b"", "2_Dense/model.safetensors": packed("d")})
    result = compress_pretrained(bert, "small")
    assert sorted(result.left_out) == sorted([*others, ".cache/"])
    assert files_of("small").keys() == {*SMALL, "model.wz", "2_Dense/model.safetensors"}


def test_a_repository_of_the_hub(hub):
    hub.repositories["me/bert"] = {**sharded(), **SMALL, "pytorch_model.bin": b"no"}
    result = compress_pretrained("hf:me/bert@v1", "small", lossless=True)
    assert result.left_out == ("pytorch_model.bin",)
    assert "pytorch_model.bin" not in hub.files
    assert files_of("small").keys() == {*SMALL, "model.wz"}
    assert not any(path.is_symlink() for path in Path("small").rglob("*"))
    back = files_of(restore_pretrained("small", "back"))
    assert {name: back[name] for name in SMALL} == SMALL
    assert weightzip.info("small/model.wz")["input"] == "bert"
    with pytest.raises(UsageError, match="a whole repository"):
        compress_pretrained("hf:me/bert/model.safetensors", "other")


def test_a_snapshot_in_the_cache_consists_of_links(hub):
    from weightzip.remote import download

    hub.repositories["me/bert"] = {**SMALL, "model.safetensors": packed("a")}
    snapshot = download("hf:me/bert", lambda names: names)
    compress_pretrained(snapshot.folder, "small")
    assert files_of("small").keys() == {*SMALL, "model.wz"}


def test_a_folder_that_is_not_empty_stays_as_it_is(bert):
    lay_out("small", {"mine.txt": b"mine"})
    with pytest.raises(OutputError, match="small: exists already; name a new folder"):
        compress_pretrained(bert, "small")
    compress_pretrained(bert, "other")
    with pytest.raises(OutputError, match="exists already"):
        restore_pretrained("other", bert)
    assert files_of("small") == {"mine.txt": b"mine"}
    Path("empty").mkdir()
    assert "model.safetensors" in files_of(restore_pretrained("other", "empty"))


def test_what_fails_leaves_nothing(bert, listing_of):
    with pytest.raises(TargetError):
        compress_pretrained(bert, "small", ratio=10**6)
    with pytest.raises(OutputError, match="No such file"):
        compress_pretrained(bert, "missing/small")
    assert listing_of() == ["bert"]
    compress_pretrained(bert, "small")
    data = bytearray(Path("small/model.wz").read_bytes())
    data[-3] ^= 1
    with pytest.raises(LimitError):
        restore_pretrained("small", "back", memory=100)
    Path("small/model.wz").write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"small/model\.wz: damaged"):
        restore_pretrained("small", "back")
    assert listing_of() == ["bert", "small"]


@pytest.mark.parametrize("source", ["nowhere", "empty", "bert/config.json"])
def test_what_is_no_such_folder(bert, source):
    Path("empty").mkdir()
    for verb in (compress_pretrained, restore_pretrained):
        with pytest.raises(CheckpointError, match=rf"^{source}: "):
            verb(source, "out")


@pytest.mark.parametrize("verb", [compress_pretrained, restore_pretrained])
def test_a_file_that_cannot_be_read_is_named(bert, verb, monkeypatch):
    compress_pretrained(bert, "small")
    copyfile = shutil.copyfile

    def refuse(source, target):
        if source.name == "config.json":
            raise PermissionError(13, "Permission denied", str(source))
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", refuse)
    source = {compress_pretrained: "bert", restore_pretrained: "small"}[verb]
    with pytest.raises(CheckpointError, match=rf"^{source}/1_Pooling/config\.json: cannot be read: Permission denied"):
        verb(source, "out")
    assert not Path("out").exists()


def test_links_out_of_a_folder_are_followed_for_the_weights_alone(bert, listing_of):
    Path("secret").write_text("mine")
    (bert / "model.safetensors").rename("elsewhere.safetensors")
    (bert / "model.safetensors").symlink_to("../elsewhere.safetensors")
    (bert / "vocab.txt").symlink_to("config.json")
    compress_pretrained(bert, "small")
    assert files_of("small")["vocab.txt"] == SMALL["config.json"]
    (bert / "1_Pooling/notes.txt").symlink_to("../../secret")
    with pytest.raises(UnsupportedCheckpointError, match=r"bert/1_Pooling/notes\.txt: is a link that leads out of the folder"):
        compress_pretrained(bert, "other")
    assert listing_of() == ["bert", "elsewhere.safetensors", "secret", "small"]


def test_links_of_strangers_are_not_followed(bert, listing_of):
    compress_pretrained(bert, "small")
    Path("secret").write_text("mine")
    Path("small/notes.txt").symlink_to("../secret")
    with pytest.raises(UnsupportedCheckpointError, match=r"small/notes\.txt: is a link, which is not followed"):
        restore_pretrained("small", "back")
    Path("small/notes.txt").unlink()
    Path("small/folder").symlink_to("..")
    for verb in (restore_pretrained, compress_pretrained):
        with pytest.raises(UnsupportedCheckpointError, match="is a link"):
            verb("small", "back")
    assert listing_of() == ["bert", "secret", "small"]


def test_what_is_neither_file_nor_folder(bert):
    os.mkfifo(bert / "pipe")
    with pytest.raises(UnsupportedCheckpointError, match="bert/pipe: is neither a file nor a folder"):
        compress_pretrained(bert, "small")


@pytest.mark.parametrize("name", ["../../out.safetensors", "config.json", "..", "/etc/x.safetensors", "modeling.py"])
def test_a_name_in_the_file_leads_nowhere_else(bert, listing_of, name):
    compress_pretrained(bert, "small")
    container = unpack(Path("small/model.wz").read_bytes())
    header = container.header | {"layout": {**container.header["layout"], "name": name}}
    Path("small/model.wz").write_bytes(pack(header, dict(container.sections)))
    back = files_of(restore_pretrained("small", "back"))
    (weights,) = back.keys() - SMALL.keys()
    assert weights in ("out.safetensors", "x.safetensors", "model.safetensors")
    assert {name: back[name] for name in SMALL} == SMALL
    assert listing_of() == ["back", "bert", "small"]


def test_a_file_that_is_in_the_place_of_the_weights(bert):
    compress_pretrained(bert, "small")
    shutil.copy(bert / "model.safetensors", "small")
    with pytest.raises(CheckpointError, match=r"holds model\.safetensors, which model\.wz restores to as well; remove one"):
        restore_pretrained("small", "back")
    assert not Path("back").exists()


def test_a_folder_that_is_packed_already(bert):
    (bert / "model.wz").touch()
    with pytest.raises(CheckpointError, match=r"holds a model\.wz already"):
        compress_pretrained(bert, "small")


@pytest.mark.parametrize("option", ["force", "dry_run", "output"])
def test_options_that_make_no_sense(bert, option):
    with pytest.raises(UsageError, match=f"takes no option '{option}'"):
        compress_pretrained(bert, "small", **{option: True})


class Model:
    """As transformers' classes are, as far as we use them."""

    @classmethod
    def from_pretrained(cls, folder, *, dtype=None):
        assert json.loads((Path(folder) / "config.json").read_text())["model_type"] == "bert"
        return load_file(Path(folder) / "model.safetensors"), dtype, Path(folder)


def test_straight_into_a_library(bert):
    compress_pretrained(bert, "small")
    state, dtype, folder = from_pretrained(Model, "small", dtype="auto")
    assert torch.equal(state["a"], weightzip.restore("small/model.wz")["a"])
    assert (dtype, folder.name, folder.exists()) == ("auto", "small", False)


def test_the_command_line_takes_the_model_alone(bert, capfd):
    assert execute(["compress", "bert/", "--lossless", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["output"] == "bert.wz"
    assert execute(["restore", "bert.wz"]) == 0
    assert Path("model.safetensors").read_bytes() == (bert / "model.safetensors").read_bytes()
    assert execute(["compress", "bert", "-o", "bert/model.safetensors", "-f"]) == 1  # output and input are the same
