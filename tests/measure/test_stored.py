import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from weightzip.errors import MeasurementError
from weightzip.measure.stored import check_same_bits, check_same_tensors, stored_tensors
from weightzip.measure.synthetic import SyntheticModel, write_synthetic

FIRST, SECOND = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2))
KEY = "model.norm.weight"
LAST = "model-00003-of-00003.safetensors"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    write_synthetic(SyntheticModel(400_000, shard_bytes=150_000), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def restored(source: Path) -> Path:
    return Path(shutil.copytree(source, source.with_name("restored")))


def test_it_reads_what_the_library_wrote(tmp_path):
    tensors = {"b": torch.arange(6, dtype=torch.int16).reshape(2, 3), "a": torch.ones(()), "none": torch.ones(0, 4)}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    found = stored_tensors(tmp_path / "model.safetensors")
    assert {name: (stored.dtype, stored.shape, stored.num_bytes) for name, stored in found.items()} == {
        "b": ("I16", (2, 3), 12),
        "a": ("F32", (), 4),
        "none": ("F32", (0, 4), 0),
    }
    data = (tmp_path / "model.safetensors").read_bytes()
    stored = found["b"]
    assert data[stored.start : stored.start + 12] == tensors["b"].numpy().tobytes()


def test_a_copy_is_the_same(source, restored):
    check_same_tensors(source, restored)
    check_same_bits(source, restored)


def test_other_weights_are_the_same_tensors_but_not_the_same_bits(source, restored):
    path = restored / SECOND
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    check_same_tensors(source, restored)
    with pytest.raises(MeasurementError, match="did not come back bit by bit"):
        check_same_bits(source, restored)


def test_weights_that_are_cut_off_are_not_the_same_bits(source, restored):
    (restored / LAST).write_bytes((restored / LAST).read_bytes()[:-1])
    with pytest.raises(MeasurementError, match=rf"{KEY} did not come back bit by bit"):
        check_same_bits(source, restored)


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[KEY]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["other"] = tensors[KEY].clone()


def cast(tensors: dict[str, torch.Tensor]) -> None:
    tensors[KEY] = tensors[KEY].half()


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[KEY] = tensors[KEY][:, None].clone()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, f"{KEY} was not restored"),
        (add, "other was restored, but never there"),
        (cast, rf"{KEY} is F16 \[16\], not F32 \[16\]"),
        (reshape, rf"{KEY} is F32 \[16, 1\], not F32 \[16\]"),
    ],
)
@pytest.mark.parametrize("check", [check_same_tensors, check_same_bits])
def test_other_tensors_are_named(source, restored, change, words, check: Callable[[Path, Path], None]):
    tensors = load_file(restored / LAST)
    change(tensors)
    save_file(tensors, restored / LAST)
    with pytest.raises(MeasurementError, match=words):
        check(source, restored)


def test_a_tensor_in_another_file_is_named(source, restored):
    (restored / FIRST).rename(restored / "other.safetensors")
    with pytest.raises(MeasurementError, match=f"is in other.safetensors, not in {FIRST}"):
        check_same_tensors(source, restored)


def test_a_tensor_that_is_there_twice_is_named(source, restored):
    shutil.copy(restored / FIRST, restored / "other.safetensors")
    with pytest.raises(MeasurementError, match="a second time"):
        check_same_tensors(source, restored)


@pytest.mark.parametrize("data", [b"", b"\x08\0\0\0\0\0\0\0[1, 2]  ", b"\xff" * 20, b'\x09\0\0\0\0\0\0\0{"a": 1}  '])
def test_what_is_no_such_file(source, restored, data):
    (restored / SECOND).write_bytes(data)
    with pytest.raises(MeasurementError, match=rf"{SECOND}: is no \.safetensors file"):
        check_same_tensors(source, restored)


def test_nothing_at_all(source, tmp_path):
    with pytest.raises(MeasurementError, match=r"nowhere: is no \.safetensors file"):
        check_same_tensors(source, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MeasurementError, match="was not restored"):
        check_same_tensors(source, tmp_path / "empty")
