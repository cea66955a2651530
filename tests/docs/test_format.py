"""docs/FORMAT.md: its limits are the code's, its example is what the code writes, and a reader can be written from it."""

import importlib
import json
import re
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import reader_families  # so that its codec is known
import torch
from fuzz_corpus import GOLDEN, corpus
from reader import container, latents, short_list, tensors_of
from reader_codecs import decode

import weightzip
from weightzip import codec as weightzip_codec
from weightzip.checkpoint import from_object
from weightzip.codec import FamilyCodec, encode
from weightzip.vae import FAMILIES, VAESettings

TEXT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| [^|]+ \| `([\w.]+)` \| ([\d,]+) \|$", TEXT, re.MULTILINE)
NAMES = ["auto2", "max_error2", "paper2", "lossless", "auto3", "max_error3", "paper3", "lossless2", "parts", "wrapped2"]
NAMES += ["auto in parts", "lossless in parts", "planes", "tree", "module", "shards"]


FAMILY_FILES = {"heteroskedastic", "causal", "squeezed", "conditioned", "labelled"}  # among the golden ones


@cache
def files() -> dict[str, bytes]:
    return corpus() | {name: (GOLDEN / f"{name}.wz").read_bytes() for name in FAMILY_FILES}


def of_family(name: str) -> bytes:
    """A file of a network hardly trained, of tensors of several dtypes and shapes."""
    settings = VAESettings.of(name, chunk=20, latent=6, hidden=7, copies=1, validation_copies=1, epochs=2, batch_size=16)
    state = {
        "empty": torch.zeros(0, 4),
        "a": torch.randn(20, 9),
        "b": torch.randn(4, 3, 2, 2).half(),
        "steps": torch.tensor(5),
        "c": torch.tensor(3.0),
        "d": torch.randn(700).bfloat16(),
    }
    return encode(from_object(state), FamilyCodec(settings, 0.4)).pack()


@pytest.mark.parametrize(("name", "value"), LIMITS)
def test_a_limit(name: str, value: str):
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(f"weightzip.{module}"), constant) == int(value.replace(",", ""))


def test_there_are_limits():
    assert len(LIMITS) > 25


@pytest.fixture
def dump() -> bytes:
    """The example's bytes."""
    lines = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} ?)+)", TEXT, re.MULTILINE)
    return bytes.fromhex("".join(lines))


def test_the_example_is_what_is_written(dump: bytes, tmp_path: Path):
    torch.save({"w": torch.tensor([1.5, -2.0, 0.0]), "steps": torch.tensor(7)}, tmp_path / "tiny.pt")
    weightzip.compress(tmp_path / "tiny.pt", max_error=0.25)
    written, shown = container((tmp_path / "tiny.wz").read_bytes()), container(dump)
    assert (written.header, written.sections) == (shown.header, shown.sections)
    (stored,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert json.loads(stored) == shown.header
    (tmp_path / "dump.wz").write_bytes(dump)
    restored = weightzip.restore(tmp_path / "dump.wz")
    assert (restored["w"] - torch.tensor([1.5, -2.0, 0.0])).abs().max() < 1e-5
    assert restored["steps"] == 7


@pytest.mark.parametrize("name", [*NAMES, *sorted(FAMILY_FILES)])
def test_a_reader_written_from_it_reads_the_same(name: str):
    reads_the_same(files()[name])


@pytest.mark.parametrize("name", FAMILIES)
def test_it_reads_the_files_of_a_family_the_same(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("weightzip.codec.family_fit._DECODER_STEPS", (1.0,))
    reads_the_same(of_family(name))


def test_it_knows_all_families():
    assert set(reader_families.SHAPES) == {*reader_families.NETWORKS, "causal"} == set(FAMILIES)


def reads_the_same(data: bytes) -> None:
    """The reader of these tests, and weightzip, what a file holds."""
    expected = weightzip_codec.decode(data)
    found = decode(container(data))
    assert set(found) == set(expected.tensors)
    for key, shape, dtype, exact in tensors_of(container(data).header):
        tensor = expected.tensors[key]
        assert (tuple(tensor.shape), str(tensor.dtype)) == (shape, f"torch.{dtype}")
        if exact:
            assert (
                tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == found[key] if tensor.numel() else found[key] == b""
            ), key
        else:
            assert np.array_equal(torch.from_numpy(found[key]).to(tensor.dtype).double(), tensor.double()), key


def test_the_example_of_a_short_list():
    (data, values) = re.findall(r"the bytes `([0-9a-f ]+)` hold ([-\d, ]+)\.", TEXT)[0]
    wanted = [int(value) for value in values.split(", ")]
    assert list(islice(short_list(bytes.fromhex(data)), len(wanted))) == wanted
    assert list(islice(short_list(b""), 100)) == [0] * 100


def test_the_example_of_points(dump: bytes):
    sections = container(dump).sections
    assert latents(sections["model"], sections["symbols"], [(1, 1, 3)], 1) == [[6, -8, 0]]
    assert list(islice(short_list(sections["model"][10:14]), 7)) == [9, 0, 7, 0, 0, 0, -4]
