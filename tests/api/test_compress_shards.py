"""Folders of shards with their index, in and out."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import weightzip
from weightzip.api import restore_to
from weightzip.errors import OutputError


@pytest.fixture
def shards(folder, state):
    """A sharded checkpoint in a folder whose name has a dot."""
    model = folder / "model-1.5b"
    model.mkdir()
    halves = [{"a.weight": torch.randn(30, 40), "a.bias": torch.randn(30)}, {"b.weight": torch.randn(20, 30)}]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save_file(half, model / name, metadata={"format": "pt"})
    weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    index = json.dumps({"metadata": {}, "weight_map": weight_map}, indent=2, sort_keys=True)  # as the usual libraries write it
    (model / "model.safetensors.index.json").write_text(f"{index}\n")
    return model


def contents(model):
    return {path.name: path.read_bytes() for path in model.iterdir()}


@pytest.mark.parametrize(
    ("named", "expected"), [(".", "model-1.5b.wz"), ("model.safetensors.index.json", "model-1.5b/model.wz")]
)
def test_a_folder_of_shards_comes_back_as_the_same_shards(shards, named, expected):
    before = contents(shards)
    summary = weightzip.compress(shards / named if named != "." else shards, lossless=True)
    assert Path(summary["output"]) == shards.parent / expected
    restored = restore_to(summary["output"], "back")
    assert contents(restored.output) == before


def test_shards_over_shards(shards):
    weightzip.compress(shards, "a.wz")
    before = contents(shards)
    with pytest.raises(OutputError, match="exists already"):
        restore_to("a.wz")
    (shards / "old.safetensors").write_bytes(b"of an earlier model")
    restore_to("a.wz", force=True)
    assert contents(shards).keys() == before.keys()
    assert contents(shards) != before  # what was lossy has changed


def test_shards_do_not_replace_other_files(shards):
    weightzip.compress(shards, "a.wz")
    (shards / "config.json").write_text("precious")
    before = contents(shards)
    with pytest.raises(OutputError, match=r"holds other files, such as config\.json; choose another folder"):
        restore_to("a.wz", force=True)
    assert contents(shards) == before


def test_one_tensor_of_a_shard_is_a_file(shards):
    weightzip.compress(shards, "a.wz", lossless=True)
    restored = restore_to("a.wz", tensor="b.weight")
    assert restored.output.name == "b.weight.safetensors"
    assert list(load_file(restored.output)) == ["b.weight"]
