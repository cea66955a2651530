import contextlib
import copy
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, LosslessCodec, PaperCodec, Target, decode, decode_parts, encode, plan_for, read_header
from weightzip.codec.decoding import CODECS, naming
from weightzip.codec.encoding import lossy_magnitudes
from weightzip.container import pack, unpack
from weightzip.errors import FormatError, LimitError, WeightzipError
from weightzip.interface import Payload
from weightzip.threads import limited_threads

STATE = {
    "w": torch.linspace(-1, 1, 600).reshape(20, 30),
    "half": torch.linspace(-3, 3, 50).half(),
    "steps": torch.tensor(1234),
    "mask": torch.tensor([True, False, True]),
    "broken": torch.tensor([1.0, math.nan, -math.inf, -0.0]),
    "complex": torch.tensor([1 + 2j]),
    "fp8": torch.ones(4).to(torch.float8_e4m3fn),
}


@pytest.fixture(scope="module")
def coded():
    return encode(from_object(STATE), AutoCodec())


@pytest.fixture
def parts(coded):
    """The header's JSON and the sections of a file, to be changed and packed again with hashes that are right."""
    container = unpack(coded.pack())
    return json.loads(json.dumps(container.header)), dict(container.sections)


def test_only_finite_floats_are_coded_lossily(coded):
    assert coded.header.exact == {"steps", "mask", "broken", "complex", "fp8"}
    assert coded.header.codec == "auto.2"
    assert set(coded.sections) - {"transforms"} == {"steps", "model", "symbols", "exact"}


def test_everything_else_is_bit_for_bit(coded, same_bits):
    for name in coded.header.exact:
        assert same_bits(coded.restored[name], STATE[name]), name


def test_what_encode_says_is_restored_is_what_decode_restores(coded, same_bits):
    decoded = decode(coded.pack())
    assert list(decoded.tensors) == list(STATE)
    assert all(same_bits(decoded.tensors[name], tensor) for name, tensor in coded.restored.items())


def test_the_errors_in_the_header_are_those_of_the_file(coded):
    floats = [name for name, tensor in STATE.items() if tensor.dtype.is_floating_point]
    differences = torch.cat([torch.nan_to_num(STATE[n].double() - coded.restored[n].double()).reshape(-1) for n in floats])
    energy = torch.cat([torch.nan_to_num(STATE[n].double(), posinf=0, neginf=0).reshape(-1) for n in floats]).square().sum()
    assert coded.header.max_abs_error == pytest.approx(float(differences.abs().max()), rel=1e-9)
    assert coded.header.relative_mse == pytest.approx(float(differences.square().sum() / energy), rel=1e-9)
    assert coded.header.max_abs_error > 0


def test_weights_outside_the_model_are_exact():
    """An optimiser's state is no weights: it must come back as it was."""
    checkpoint = from_object({"model": {"w": torch.randn(5, 5)}, "optimizer": {"state": {0: {"exp_avg": torch.randn(5, 5)}}}})
    (moment,) = set(checkpoint.tensors) - {"w"}
    assert set(lossy_magnitudes(checkpoint)) == {"w"}
    restored = encode(checkpoint, AutoCodec()).restored
    assert torch.equal(restored[moment], checkpoint.tensors[moment])
    assert not torch.equal(restored["w"], checkpoint.tensors["w"])


def test_a_double_beyond_float32_is_exact():
    state = {"large": torch.tensor([1e200, 1.0], dtype=torch.float64), "w": torch.randn(4, 4, dtype=torch.float64)}
    coded = encode(from_object(state), AutoCodec())
    assert coded.header.exact == {"large"}
    assert torch.equal(coded.restored["large"], state["large"])


def test_a_tensor_that_would_overflow_its_dtype_is_exact():
    near_the_end = 65000.0 + 500.0 * torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
    coded = encode(from_object({"a": near_the_end.half(), "b": torch.full((30, 30), 20000.0).half()}), AutoCodec())
    assert coded.header.exact == {"a"}
    assert all(torch.isfinite(tensor).all() for tensor in coded.restored.values())


def test_one_overflow_that_brings_about_another(monkeypatch):
    """What is coded anew without the first broken tensor may break the next one; no tensor stays broken."""

    class Largest:
        """Restores every tensor but breaks the first one it is given, down to the last but one."""

        name = "largest"

        def encode(self, tensors, progress=None):
            return Payload({}, {"broken": min(tensors) if len(tensors) > 1 else ""})

        @staticmethod
        def decode(payload, specs):
            return {s.name: torch.full(s.shape, math.inf if s.name == payload.meta["broken"] else 1.0) for s in specs}

    monkeypatch.setitem(CODECS, "largest", Largest)
    coded = encode(from_object({name: torch.ones(2, 2) for name in "abc"}), Largest())
    assert coded.header.exact == {"a", "b"}
    assert coded.header.max_abs_error == 0


def test_a_checkpoint_without_weights_is_a_lossless_file():
    for codec in (AutoCodec(), PaperCodec()):
        coded = encode(from_object({"ids": torch.arange(5)}), codec)
        assert (coded.header.codec, coded.header.latents) == ("lossless.2", 0)
        assert torch.equal(decode(coded.pack()).tensors["ids"], torch.arange(5))


def test_the_source_is_left_as_it_is(same_bits):
    state = copy.deepcopy(STATE)
    encode(from_object(state), AutoCodec())
    assert all(same_bits(state[name], tensor) for name, tensor in STATE.items())


def test_memory_over_the_cap_is_refused(coded):
    needed = sum(tensor.numel() * tensor.element_size() for tensor in STATE.values())
    decode(coded.pack(), memory=needed)
    with pytest.raises(LimitError, match=f"model.wz: restores to {needed:,} bytes, over the cap of {needed - 1:,}"):
        decode(coded.pack(), "model.wz", memory=needed - 1)


def test_what_decoding_takes_beyond_the_allowance_counts(coded, monkeypatch):
    needed = sum(tensor.numel() * tensor.element_size() for tensor in STATE.values())
    monkeypatch.setattr("weightzip.codec.memory.ALLOWANCE", 1000)
    sections = sum(len(data) for name, data in coded.sections.items() if name != "exact")
    working = sections + 14 * 650  # a symbol's worth for each lossy weight
    decode(coded.pack(), memory=needed + working - 1000)
    with pytest.raises(LimitError, match=f"restores to {needed:,} bytes and takes {needed + working - 1000:,} to decode"):
        decode(coded.pack(), memory=needed + working - 1001)


def test_more_than_any_machine_has_is_refused_before_it_is_tried(parts):
    header, sections = parts
    header["tensors"] = [[str(k), [2**50]] for k in range(1000)]
    del sections["exact"]
    with pytest.raises(LimitError, match="over this machine's memory"):
        decode(pack(header, sections))


def test_an_unknown_codec_is_a_matter_of_updating(parts):
    header, sections = parts
    with pytest.raises(LimitError, match=r"file\.wz: made by the codec 'fractal'.*update weightzip"):
        decode(pack({**header, "codec": "fractal"}, sections), "file.wz")


def test_a_lossy_tensor_in_a_lossless_file_is_refused(parts):
    header, sections = parts
    with pytest.raises(FormatError, match="marked as lossy in a lossless file"):
        decode(pack({**header, "codec": "lossless.2", "meta": {}}, sections))


def test_sections_that_belong_to_nothing_are_refused(parts):
    header, sections = parts
    header["tensors"] = [entry for entry in header["tensors"] if len(entry) == 4]
    with pytest.raises(FormatError, match="belongs to no tensor"):
        decode(pack(header, sections))


def test_errors_name_the_file(parts):
    header, sections = parts
    with pytest.raises(FormatError, match=r"^some/model\.wz: the header names no tensors"):
        decode(pack({**header, "tensors": []}, sections), "some/model.wz")
    with pytest.raises(FormatError, match=r"^some/model\.wz: the auto codec"):
        decode(pack({**header, "meta": {}}, sections), "some/model.wz")


def test_too_little_memory_is_a_limit_of_the_file():
    """Torch has no MemoryError; other errors of its kind are left as they are."""
    with pytest.raises(LimitError, match=r"^x\.wz: takes more memory to decode than this machine has"), naming("x.wz"):
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match="size of tensor"), naming("x.wz"):
        torch.ones(2) + torch.ones(3)


@pytest.fixture(scope="module")
def files(tiny_vae):
    """One file of each codec, taken apart."""
    state = {"w": torch.randn(12, 10), "b": torch.randn(10), "ids": torch.arange(5)}
    codecs = (AutoCodec(), PaperCodec(tiny_vae), LosslessCodec())
    containers = [unpack(encode(from_object(state), codec).pack()) for codec in codecs]
    return [(container.header, container.sections) for container in containers]


@given(st.data())
@settings(max_examples=300)
def test_damage_under_the_right_hashes_is_refused_or_decodes_to_something(files, data):
    """Hashes do not protect against forgery; whatever a file says, only errors of weightzip come out."""
    header, sections = data.draw(st.sampled_from(files))
    name = data.draw(st.sampled_from(sorted(sections)))
    section = bytearray(sections[name])
    for _ in range(data.draw(st.integers(1, 3))):
        if section:
            section[data.draw(st.integers(0, len(section) - 1))] ^= data.draw(st.integers(1, 255))
    changed = bytes(section[: data.draw(st.integers(0, len(section)))]) if data.draw(st.booleans()) else bytes(section)
    try:
        decoded = decode(pack(header, {**sections, name: changed}), memory=1 << 20)
    except WeightzipError:
        return
    assert {key: tuple(tensor.shape) for key, tensor in decoded.tensors.items()} == {"w": (12, 10), "b": (10,), "ids": (5,)}


ODD = [None, True, -1, 0, 1, 2**31, 2**40, 10**400, 1e300, "", "w", [], {}, [1], [[]], -1.5]


@given(st.data())
@settings(max_examples=300)
def test_a_header_of_odd_values_is_refused_or_decodes_to_something(files, data):
    header, sections = data.draw(st.sampled_from(files))
    header = copy.deepcopy(header)
    node, keys = header, ["codec", "meta", "tensors", "error", *(["latents"] if "latents" in header else [])]
    while True:
        key = data.draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        node, keys = inner, sorted(inner) if isinstance(inner, dict) else range(len(inner))
    node[key] = data.draw(st.sampled_from(ODD))
    with contextlib.suppress(WeightzipError):
        decode(pack(header, sections), memory=1 << 20)


def in_parts(state, monkeypatch, codec=None, **options):
    """A state dict coded in parts of about 1,000 weights, or of 64 bytes where they are exact."""
    monkeypatch.setattr("weightzip.codec.encoding.PART_WEIGHTS", 1000)
    monkeypatch.setattr("weightzip.codec.encoding.EXACT_PART_BYTES", 64)
    return encode(from_object(state), codec or AutoCodec(), **options)


MANY = {
    **{f"w{k}": (k + 1) * torch.randn(20, 30, generator=torch.Generator().manual_seed(k)) for k in range(4)},
    "large": torch.randn(2500, generator=torch.Generator().manual_seed(9)),
    **{f"ids{k}": torch.arange(k, k + 7) for k in range(5)},
}


def test_parts_hold_as_much_as_the_largest_tensor(monkeypatch):
    coded = in_parts(MANY, monkeypatch)
    assert coded.header.lossy_parts == (4, 1)  # of 2,400 and 2,500 weights
    assert coded.header.exact_parts == (1, 1, 1, 1, 1)
    assert {"symbols", "symbols.1", "model.1", "exact", "exact.4"} <= set(coded.sections)


@pytest.mark.parametrize(
    ("sections", "lossy", "exact"),
    [(16, (4, 1), (1,) * 5), (12, (5,), (1,) * 5), (8, (5,), (2, 2, 1)), (7, (5,), (4, 1)), (6, None, (3, 1, 1, 5))],
)
def test_parts_are_larger_where_a_file_cannot_hold_as_many(monkeypatch, sections, lossy, exact):
    monkeypatch.setattr("weightzip.codec.encoding.MAX_SECTIONS", sections)
    coded = in_parts(MANY, monkeypatch, LosslessCodec() if lossy is None else None)
    assert (coded.header.lossy_parts, coded.header.exact_parts) == (lossy or (), exact)
    assert 1 + len(coded.sections) <= sections
    assert list(decode(coded.pack()).tensors) == list(MANY)


def test_parts_come_back_in_the_order_of_the_source(monkeypatch, same_bits):
    coded = in_parts(MANY, monkeypatch)
    decoded = decode(coded.pack())
    assert list(decoded.tensors) == list(MANY)
    assert all(same_bits(decoded.tensors[name], coded.restored[name]) for name in MANY)
    assert all(torch.equal(decoded.tensors[name], MANY[name]) for name in MANY if name.startswith("ids"))
    assert coded.header.relative_mse < 0.02


def test_parts_share_one_common_step(monkeypatch):
    """As if they had been coded together: the error is spread over all tensors, whatever part they are in."""
    apart = in_parts(MANY, monkeypatch)
    monkeypatch.undo()
    together = encode(from_object(MANY), AutoCodec())
    assert apart.header.meta == together.header.meta
    assert apart.header.relative_mse == pytest.approx(together.header.relative_mse, rel=0.1)


def test_only_what_is_wanted_is_decoded(monkeypatch):
    container = unpack(in_parts(MANY, monkeypatch).pack())
    read = []
    monkeypatch.setattr(type(container.sections), "__getitem__", lambda self, name: read.append(name) or self_get(self, name))
    self_get = lambda sections, name: sections._file.read(sections._entries[name].start, sections._entries[name].length)  # noqa: E731
    found = dict(decode_parts(container, read_header(container, "file"), {"large", "ids3"}))
    assert set(found) == {"large", "ids3"}
    assert torch.equal(found["ids3"], MANY["ids3"])
    assert {name.split(".")[-1] for name in read} == {"1", "3"}  # the second lossy part, the fourth exact one


def test_an_overflow_in_one_part_leaves_the_others_alone(monkeypatch):
    near_the_end = 65000.0 + 500.0 * torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
    state = {name: torch.full((30, 30), 20000.0).half() for name in "abc"} | {"large": near_the_end.half()}
    coded = in_parts(state, monkeypatch)
    assert coded.header.exact == {"large"}
    assert coded.header.lossy_parts == (1, 1, 1)
    assert torch.equal(decode(coded.pack()).tensors["large"], state["large"])


@pytest.mark.parametrize(
    "stored", [[[5], []], [[4, 0, 1], [5]], [[4, 1]], [[True] * 5, [5]], [[6], [4]], [[5], [-1, 6]], "all", [4, 1]]
)
def test_parts_that_do_not_add_up(monkeypatch, stored):
    container = unpack(in_parts(MANY, monkeypatch).pack())
    with pytest.raises(FormatError, match="parts"):
        decode(pack({**container.header, "parts": stored}, dict(container.sections)))


@pytest.mark.parametrize("name", ["symbols.2", "symbols.01", "exact.5", "fractal.1", "symbols.-1"])
def test_sections_of_parts_that_are_not_there(monkeypatch, name):
    container = unpack(in_parts(MANY, monkeypatch).pack())
    with pytest.raises(FormatError, match=r"belongs to no tensor|needs exactly the sections"):
        decode(pack(container.header, {**container.sections, name: b""}))


def test_progress_covers_all_parts_once(monkeypatch):
    events = []
    in_parts(MANY, monkeypatch, progress=events.append)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].total == sum(tensor.numel() for tensor in MANY.values())


@pytest.mark.parametrize("max_error", [0.1, 1e-3])
def test_errors_are_bounded_in_every_part(monkeypatch, max_error):
    checkpoint = from_object(MANY)
    plan = plan_for(checkpoint, Target(max_error=max_error))
    coded = in_parts(MANY, monkeypatch, plan.codec, max_error=max_error)
    assert coded.header.lossy_parts == (4, 1)
    assert coded.header.max_abs_error <= max_error
    assert len(coded.pack()) < 4 * sum(tensor.numel() for tensor in MANY.values())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_byte(monkeypatch, threads):
    expected = in_parts(MANY, monkeypatch).pack()
    with limited_threads(threads):
        assert in_parts(MANY, monkeypatch).pack() == expected
