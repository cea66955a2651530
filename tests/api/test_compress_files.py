"""What is read while compressing, and what is written to, when others are at work as well."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import weightzip
from weightzip import compressing
from weightzip.errors import CheckpointError, LimitError, OutputError, UnsupportedCheckpointError, WeightzipError


@pytest.fixture
def shards(folder):
    """A folder of two shards and their index."""
    (folder / "m").mkdir()
    keys = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for key, name in keys.items():
        save_file({key: torch.randn(20, 20)}, folder / "m" / name)
    (folder / "m" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": keys}))
    return folder / "m"


@pytest.mark.parametrize("named", ["", "model.safetensors.index.json"])
@pytest.mark.parametrize("output", ["model-1.safetensors", "model.safetensors.index.json"])
def test_a_part_of_the_source_is_never_the_output(shards, named, output):
    before = {path: path.read_bytes() for path in shards.iterdir()}
    with pytest.raises(OutputError, match="same file"):
        weightzip.compress(shards / named, shards / output, force=True)
    assert {path: path.read_bytes() for path in shards.iterdir()} == before


def test_a_file_beside_the_shards_may_be_replaced(shards):
    for force in (False, True):
        weightzip.compress(shards, shards / "packed.wz", force=force)
    assert sorted(weightzip.restore(shards / "packed.wz")) == ["a", "b"]


@pytest.mark.parametrize("shape", ["file", "shards"])
def test_a_source_that_changes_meanwhile_is_noticed(folder, source, shards, shape, monkeypatch):
    changed = source if shape == "file" else shards / "model-2.safetensors"
    write = compressing.write

    def slowly(*arguments, **options):
        written = write(*arguments, **options)
        os.utime(changed, ns=(0, 0))
        return written

    monkeypatch.setattr(compressing, "write", slowly)
    with pytest.raises(CheckpointError, match="was changed while it was read"):
        weightzip.compress(source if shape == "file" else shards, "out.wz")
    assert not Path("out.wz").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_said_in_one_line(folder, source, monkeypatch, error):
    def greedy(*_, **__):
        raise error

    monkeypatch.setattr(compressing, "write", greedy)
    with pytest.raises(WeightzipError, match="takes more memory to compress") as raised:
        weightzip.compress(source, "out.wz")
    assert str(raised.value).startswith(str(source))
    assert [path.name for path in folder.iterdir()] == ["net.pt"]


def test_a_file_that_appears_meanwhile_is_not_lost(folder, source, monkeypatch):
    write = compressing.write

    def slowly(*arguments, **options):
        Path("out.wz").write_text("precious")
        return write(*arguments, **options)

    monkeypatch.setattr(compressing, "write", slowly)
    with pytest.raises(OutputError, match="exists already"):
        weightzip.compress(source, "out.wz")
    assert Path("out.wz").read_text() == "precious"


def test_what_no_file_holds_is_named(folder):
    torch.save({"w": torch.ones(3), "text": "x" * (17 << 20)}, "long.pt")
    with pytest.raises(LimitError, match=r"^long\.pt: the header takes"):
        weightzip.compress("long.pt")


def test_a_name_too_long_is_told_before_anything_is_done(folder, monkeypatch):
    monkeypatch.setattr(compressing, "write", None)
    save_file({"x" * 5000: torch.ones(3)}, "long.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=r"^long\.safetensors: the name 'xxx.*longer than 4096 bytes"):
        weightzip.compress("long.safetensors")


def test_a_pipe_is_no_source(folder):
    os.mkfifo("pipe.pt")
    with pytest.raises(CheckpointError, match="is no file"):
        weightzip.compress("pipe.pt", "out.wz")
