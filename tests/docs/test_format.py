"""docs/FORMAT.md: its limits are the code's, its example is what the code writes, and a reader can be written from it."""

import importlib
import json
import re
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz_corpus import corpus
from reader import container, latents, short_list, tensors_of
from reader_codecs import decode

import weightzip
from weightzip import codec as weightzip_codec

TEXT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| [^|]+ \| `([\w.]+)` \| ([\d,]+) \|$", TEXT, re.MULTILINE)
NAMES = ["auto2", "max_error2", "paper2", "lossless", "auto3", "max_error3", "paper3", "lossless2", "parts", "wrapped2"]
NAMES += ["auto in parts", "lossless in parts", "planes", "tree", "module", "shards"]


@cache
def files() -> dict[str, bytes]:
    return corpus()


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


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_written_from_it_reads_the_same(name: str):
    data = files()[name]
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
