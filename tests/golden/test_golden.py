"""Files that earlier versions wrote: every later version must restore them to the same bits, on every machine."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import weightzip
from weightzip.codec import decode
from weightzip.container import unpack
from weightzip.threads import limited_threads

FOLDER = Path(__file__).parent
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
LARGE = dict.fromkeys(("causal", "conditioned", "squeezed"), 10_000)  # bytes, as their decoders have many weights


def sha256(tensor):
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_file_restores_to_the_same_bits(name, threads):
    with limited_threads(threads):
        tensors = decode((FOLDER / f"{name}.wz").read_bytes()).tensors
    assert list(tensors) == list(EXPECTED[name])
    for key, (dtype, shape, digest) in EXPECTED[name].items():
        assert (str(tensors[key].dtype), list(tensors[key].shape)) == (f"torch.{dtype}", shape), key
        assert sha256(tensors[key]) == digest, key


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_file_is_whole_and_small(name):
    summary = weightzip.test(FOLDER / f"{name}.wz")
    assert summary["file_bytes"] == (FOLDER / f"{name}.wz").stat().st_size < LARGE.get(name, 4096)
    assert summary["tensors"] == len(EXPECTED[name])


def test_there_is_one_for_every_preset():
    presets = {weightzip.info(FOLDER / f"{name}.wz")["preset"] for name in EXPECTED}
    assert presets == {"auto", "paper", "lossless"}


def test_there_are_files_of_several_families_with_both_layouts():
    metas = [unpack((FOLDER / f"{name}.wz").read_bytes()).header["meta"] for name in EXPECTED]
    families = {meta["family"]: meta["layout"] for meta in metas if "family" in meta}
    assert set(families) == {"heteroskedastic", "causal", "squeezed", "conditioned", "labelled"}
    assert (families["heteroskedastic"], families["causal"]) == ("classes", "tensors")


def test_no_file_is_without_its_expectation():
    assert {path.stem for path in FOLDER.glob("*.wz")} == set(EXPECTED)


@pytest.mark.parametrize("name", ["wrapped", "wrapped2"])
def test_a_wrapped_checkpoint_comes_back_whole(tmp_path, name):
    weightzip.restore(FOLDER / f"{name}.wz", tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert (back["epoch"], back["optimizer"]["lr"]) == (7, 0.1)
    state = back["state_dict"]
    assert all(key.startswith("module.") for key in state)
    assert state["module.encoder.weight"].data_ptr() == state["module.decoder.weight"].data_ptr()
    assert int(state["module.norm.num_batches_tracked"]) == 1234
    assert list(weightzip.restore(FOLDER / f"{name}.wz")) == list(state)


def test_shards_come_back_as_shards(tmp_path):
    weightzip.restore(FOLDER / "shards.wz", tmp_path / "model")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [*names, "model.safetensors.index.json"]
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert index["metadata"] == {"total_size": 1008}
    for number, name in enumerate(names, start=1):
        assert set(load_file(tmp_path / "model" / name)) == {f"{number}.weight", f"{number}.bias"}
        assert index["weight_map"][f"{number}.weight"] == name


def test_there_are_files_of_both_formats_and_with_several_parts():
    headers = [unpack((FOLDER / f"{name}.wz").read_bytes()) for name in EXPECTED]
    assert {header.version for header in headers} == {1, 2}
    assert any("parts" in header.header for header in headers)
