"""What each tensor takes of a file: shares add up, single tensors are exact, and shared streams go by what symbols cost."""

from pathlib import Path

import pytest
import torch

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, Coded, LosslessCodec, PaperCodec, encode, encoding, read_header, shares, tensor_bytes
from weightzip.container import pack, unpack

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.wz"))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares_of(data: bytes) -> dict[str, float]:
    container = unpack(data)
    return tensor_bytes(container, read_header(container, "x"), "x")


def recoded(coded: Coded, **sections: bytes) -> bytes:
    """The file with some of its sections exchanged."""
    return pack(coded.header.to_json(), {**coded.sections, **sections})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_shares_of_every_kind_of_file_are_of_all_its_tensors_and_within_it(path):
    data = path.read_bytes()
    container = unpack(data)
    header = read_header(container, path.name)
    found = tensor_bytes(container, header, path.name)
    assert list(found) == [spec.name for spec in header.tensors]
    assert all(size >= 0 for size in found.values())
    assert 0 < sum(found.values()) <= len(data) - container.section_bytes["header"] + 1e-6
    assert all(found[spec.name] > 0 for spec in header.tensors if spec.num_elements)


def test_a_part_with_one_tensor_is_that_tensors(monkeypatch):
    monkeypatch.setattr(encoding, "PART_WEIGHTS", 1000)
    monkeypatch.setattr(encoding, "EXACT_PART_BYTES", 100)
    state = {"a": randn(40, 50), "b": randn(50, 60), "ids": torch.arange(100), "more": torch.arange(50, 90)}
    coded = encode(from_object(state), AutoCodec())
    sections = {name: len(data) for name, data in coded.sections.items()}
    found = shares_of(coded.pack())
    assert found["a"] == sections["steps"] + sections["model"] + sections["symbols"]
    assert found["b"] == sections["steps.1"] + sections["model.1"] + sections["symbols.1"]
    assert (found["ids"], found["more"]) == (sections["exact"], sections["exact.1"])


def test_a_tensor_takes_in_company_about_what_it_takes_alone():
    """Rough and smooth tensors of one size, whose symbols share streams and tables: by size, all would be alike."""
    state = {"rough": 4 * randn(100, 120), "small": 0.5 * randn(100, 120, seed=1), "zero": torch.zeros(100, 120)}
    together = shares_of(encode(from_object(state), AutoCodec(0.5)).pack())
    assert together["zero"] < 0.02 * together["small"] < 0.02 * together["rough"]
    base = float(encode(from_object(state), AutoCodec(0.5)).header.meta["step"])
    for name in ("rough", "small"):
        deviation = float(state[name].square().mean().sqrt())
        alone = encode(from_object({name: state[name]}), AutoCodec(base / deviation))
        assert together[name] == pytest.approx(len(alone.sections["symbols"]), rel=0.05)


def test_little_tensors_before_a_large_one_are_looked_at_and_the_large_one_has_the_rest(monkeypatch):
    state = {"bias": 30 * randn(900), "weight": randn(300, 400, seed=1)}
    data = encode(from_object(state), AutoCodec()).pack()
    whole = shares_of(data)
    monkeypatch.setattr(shares, "_MOST_AT_END", 1000)
    assert shares_of(data) == pytest.approx(whole, rel=0.02)
    monkeypatch.setattr(shares, "_MOST_AT_END", 10)
    by_size = shares_of(data)
    assert by_size["bias"] < 0.5 * whole["bias"]
    assert sum(by_size.values()) == pytest.approx(sum(whole.values()))


def test_streams_of_one_tensor_are_exact():
    """Each of these fills a stream of its own; the lengths are told by the file itself."""
    state = {name: (number + 1) * randn(300, 256, seed=number) for number, name in enumerate("abc")}
    coded = encode(from_object(state), AutoCodec())
    found = shares_of(coded.pack())
    own = len(coded.sections["symbols"]) + len(coded.sections["steps"]) + len(coded.sections.get("transforms", b""))
    assert own <= sum(found.values()) <= own + len(coded.sections["model"])
    assert found["a"] < found["b"] < found["c"]


def test_a_learned_transform_is_shared_by_those_that_use_it():
    smooth = torch.cumsum(torch.cumsum(randn(4000, 64), 1), 1)
    state = {"smooth": smooth, "again": smooth.flip(0), "rough": 300 * randn(100, 30, seed=1)}
    coded = encode(from_object(state), AutoCodec())
    assert len(coded.sections["transforms"]) > 100
    without = len(coded.sections["symbols"]) + len(coded.sections["model"])
    found = shares_of(coded.pack())
    assert found["smooth"] + found["again"] > len(coded.sections["transforms"])
    assert sum(found.values()) > without - 1000


def test_latents_go_to_the_tensors_of_their_chunks(tiny_vae):
    state = {"a": randn(64, 10), "b": randn(32, seed=1), "c": randn(32, seed=2)}
    coded = encode(from_object(state), PaperCodec(tiny_vae))
    found = shares_of(coded.pack())
    model_and_streams = len(coded.sections["latents"])
    assert 0.3 * model_and_streams < sum(found.values()) < model_and_streams
    assert found["b"] == pytest.approx(found["c"])  # halves of one chunk
    assert found["a"] > 5 * (found["b"] + found["c"])


def test_exact_tensors_take_their_blocks():
    state = {"noise": randn(200, 100), "ones": torch.ones(200, 100), "few": torch.arange(7), "none": torch.zeros(0, 3)}
    coded = encode(from_object(state), LosslessCodec())
    found = shares_of(coded.pack())
    assert found["noise"] > 60_000 > 200 > found["ones"] > found["few"] > found["none"] == 0
    assert sum(found.values()) == pytest.approx(len(coded.sections["exact"]) - 32)


def test_what_makes_no_sense_goes_by_size():
    """`test` says that such a file is none; what its header says of it can be told all the same."""
    coded = encode(from_object({"a": randn(30, 40), "b": randn(10, 40)}), AutoCodec())
    data = recoded(coded, model=b"\x01\x00\x00" * 3)
    found = shares_of(data)
    assert found["a"] == pytest.approx(3 * found["b"])
    kept = sum(len(section) for name, section in coded.sections.items() if name != "model")
    assert sum(found.values()) == pytest.approx(kept + 9)


def test_more_weights_than_any_codec_stores_are_not_looked_at(monkeypatch):
    coded = encode(from_object({"a": torch.zeros(300, 300), "b": torch.zeros(100, 300)}), AutoCodec())
    monkeypatch.setattr(shares, "_FEW_WEIGHTS", 1000)
    monkeypatch.setattr(shares, "_WEIGHTS_PER_BYTE", 2)
    monkeypatch.setattr(shares, "_LOOKS", {AutoCodec.name: None})  # not even asked
    found = shares_of(coded.pack())
    assert found["a"] == pytest.approx(3 * found["b"])
