import hashlib
import json
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from weightzip.container import (
    MAX_HEADER_BYTES,
    MAX_HEADER_DEPTH,
    MAX_SECTIONS,
    VERSION,
    ContainerWriter,
    open_container,
    pack,
    unpack,
)
from weightzip.errors import DamagedFileError, FormatError, LimitError, WeightzipError

HEADER = {"codec": "auto", "step": 0.25, "names": ["größe", None, True]}
SECTIONS = {"symbols": bytes(range(40)), "empty": b"", "scales": b"\0" * 7}
FILE = pack(HEADER, SECTIONS)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
TEXT = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=20)


def sha256(data):
    return hashlib.sha256(data).digest()


def entry(name, data, *, length=None):
    """One entry of the table of contents, as the format says."""
    size = len(data) if length is None else length
    return bytes([len(name)]) + name + size.to_bytes(6, "little") + sha256(data)


def assemble(table, body, *, magic=b"\x89WZ\n", version=1, flags=0):
    """A file with this table of contents and all hashes right, written down anew from the format's description."""
    preamble = magic + struct.pack("<BBI", version, flags, len(table))
    return preamble + sha256(preamble + table) + table + body


def with_header(data, **preamble):
    """A file whose only section is this header."""
    return assemble(entry(b"header", data), data, **preamble)


def compressed(obj):
    return zstandard.ZstdCompressor().compress(obj if isinstance(obj, bytes) else json.dumps(obj).encode())


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.dictionaries(TEXT, st.binary(max_size=100), max_size=5))
def test_round_trip(header, sections):
    sections.pop("header", None)
    container = unpack(pack(header, sections))
    assert container.header == header
    assert container.sections == sections
    assert list(container.sections) == list(sections)


def test_every_byte_is_accounted_for():
    container = unpack(FILE)
    assert sum(container.section_bytes.values()) == len(FILE)
    assert {name: container.section_bytes[name] for name in SECTIONS} == {"symbols": 40, "empty": 0, "scales": 7}


def test_the_format_is_the_one_described():
    header = compressed(HEADER)
    table = entry(b"header", header) + entry(b"symbols", SECTIONS["symbols"])
    container = unpack(assemble(table, header + SECTIONS["symbols"]))
    assert container.header == HEADER
    assert container.sections == {"symbols": SECTIONS["symbols"]}


def test_the_same_input_gives_the_same_bytes():
    assert pack(HEADER, SECTIONS) == FILE


@pytest.mark.parametrize("position", range(len(FILE)))
def test_every_flipped_bit_is_reported_as_damage(position):
    for bit in range(8):
        damaged = bytearray(FILE)
        damaged[position] ^= 1 << bit
        with pytest.raises(FormatError) as raised:
            unpack(bytes(damaged), "model.wz")
        assert raised.value.exit_code == 3
        assert "model.wz" in str(raised.value)
        assert isinstance(raised.value, DamagedFileError) or position < 4  # without its magic it may be any file


def test_every_truncation_is_reported_as_damage():
    for length in range(len(FILE)):
        with pytest.raises(FormatError) as raised:
            unpack(FILE[:length])
        assert raised.value.exit_code == 3
        assert isinstance(raised.value, DamagedFileError) or length < 4


@given(st.binary(min_size=1, max_size=300))
def test_appended_bytes_are_reported_as_damage(extra):
    with pytest.raises(DamagedFileError, match=f"{len(FILE) + len(extra)} bytes instead of {len(FILE)}"):
        unpack(FILE + extra)


def test_two_files_in_one_are_reported_as_damage():
    with pytest.raises(DamagedFileError):
        unpack(FILE + FILE)


def test_an_empty_file():
    with pytest.raises(FormatError, match="empty"):
        unpack(b"")


@pytest.mark.parametrize("data", [b"\x28\xb5\x2f\xfd" + bytes(100), b"PK\x03\x04" + bytes(100), b"\x89PNG\r\n\x1a\n", b"x"])
def test_another_kind_of_file(data):
    with pytest.raises(FormatError, match=r"not a \.wz file") as raised:
        unpack(data)
    assert not isinstance(raised.value, DamagedFileError)


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_damage(data):
    with pytest.raises(DamagedFileError):
        unpack(b"\x89WZ\n" + data)


@pytest.mark.parametrize("preamble", [{"version": 3}, {"version": 0}, {"flags": 1}])
def test_a_newer_version_is_a_limit_not_damage(preamble):
    with pytest.raises(LimitError, match="update weightzip") as raised:
        unpack(with_header(compressed({}), **preamble))
    assert raised.value.exit_code == 4


def test_a_header_that_declares_too_much_is_refused_before_it_is_unpacked():
    bomb = compressed(b" " * (MAX_HEADER_BYTES + 1))
    file = with_header(bomb)
    tracemalloc.start()
    with pytest.raises(LimitError, match="header unpacks to 16,777,217 bytes"):
        unpack(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_header_that_declares_exabytes_is_refused():
    frame = bytearray(compressed(b"{}"))
    # Frame header with an 8-byte content size (RFC 8878, section 3.1.1.1).
    forged = frame[:4] + bytes([0xE0]) + (1 << 60).to_bytes(8, "little") + frame[6:]
    with pytest.raises(LimitError, match="header unpacks to 1,152,921,504,606,846,976 bytes"):
        unpack(with_header(bytes(forged)))


def test_a_header_of_unknown_size_is_refused():
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")
    with pytest.raises(FormatError, match="does not say how long"):
        unpack(with_header(streamed))


def test_a_header_that_lies_about_its_size_is_refused():
    frame = bytearray(compressed(b'{"a": 1}'))
    frame[5] += 1  # a one-byte content size follows magic and descriptor
    with pytest.raises(FormatError, match="cannot be read"):
        unpack(with_header(bytes(frame)))


@pytest.mark.parametrize("data", [b"", b"\x28\xb5\x2f\xfd", b"{}", b"\x28\xb5\x2f\xfd\x20\x02\x11\x00"])
def test_a_header_that_is_no_zstandard_frame(data):
    with pytest.raises(FormatError, match="header"):
        unpack(with_header(data))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\xfd", b"{'a': 1}", b'{"a": ' + b"1" * 5000 + b"}"])
def test_a_header_that_is_no_json(text):
    with pytest.raises(FormatError, match="cannot be read"):
        unpack(with_header(compressed(text)))


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_json_too_deep(text):
    with pytest.raises(FormatError, match="cannot be read"):
        unpack(with_header(compressed(text)))


@pytest.mark.parametrize("value", [[], 1, "text", None])
def test_a_header_that_is_no_object(value):
    with pytest.raises(FormatError, match="not a JSON object"):
        unpack(with_header(compressed(value)))


HEADER_DATA = compressed({})
HEADER_ENTRY = entry(b"header", HEADER_DATA)


@pytest.mark.parametrize(
    ("table", "body"),
    [
        pytest.param(HEADER_ENTRY + entry(b"a", b"x") * 2, b"xx", id="a section twice"),
        pytest.param(HEADER_ENTRY * 2, HEADER_DATA, id="the header twice"),
        pytest.param(entry(b"a", b"x"), b"", id="no header"),
        pytest.param(b"", b"", id="no sections"),
    ],
)
def test_a_table_of_contents_that_makes_no_sense(table, body):
    with pytest.raises(FormatError, match="names a section twice, or no header first"):
        unpack(assemble(table, HEADER_DATA + body))


def test_too_many_sections():
    table = HEADER_ENTRY + b"".join(entry(b"%d" % k, b"") for k in range(MAX_SECTIONS))
    with pytest.raises(LimitError, match="more than 65,536 sections"):
        unpack(assemble(table, HEADER_DATA))


def test_a_table_of_contents_too_long():
    with pytest.raises(LimitError, match="table of contents takes 8,388,609 bytes; at most 8,388,608"):
        unpack(assemble(b"\0" * ((8 << 20) + 1), b""))


@pytest.mark.parametrize("text", [b'{"a":1,"a":2}', b'{"a":{"b":[],"b":[]}}', b'{"a":NaN}', b'{"a":-Infinity}'])
def test_json_that_may_be_read_in_two_ways(text):
    with pytest.raises(FormatError, match=r"twice|is no JSON"):
        unpack(with_header(compressed(text)))


def test_a_header_nested_deeper_than_the_limit():
    fitting = b'{"a":' + b"[" * (MAX_HEADER_DEPTH - 1) + b"]" * (MAX_HEADER_DEPTH - 1) + b"}"
    assert unpack(with_header(compressed(fitting))).header
    with pytest.raises(LimitError, match=f"nested deeper than {MAX_HEADER_DEPTH}"):
        unpack(with_header(compressed(fitting.replace(b"[]", b"[[]]"))))


def test_a_header_that_is_not_first():
    with pytest.raises(FormatError, match="no header first"):
        unpack(assemble(entry(b"a", b"x") + HEADER_ENTRY, b"x" + HEADER_DATA))


@pytest.mark.parametrize("table", [b"\x06header", HEADER_ENTRY[:-1], HEADER_ENTRY + b"\xff", HEADER_ENTRY + b"\x01"])
def test_a_table_of_contents_that_ends_within_an_entry(table):
    with pytest.raises(FormatError, match="ends within an entry"):
        unpack(assemble(table, HEADER_DATA))


def test_a_section_that_claims_more_than_the_file_has():
    table = HEADER_ENTRY + entry(b"a", b"", length=2**48 - 1)
    with pytest.raises(DamagedFileError, match="instead of 281,474,976,710,"):
        unpack(assemble(table, HEADER_DATA))


def test_a_header_too_large_is_not_written():
    with pytest.raises(LimitError, match=r"16,777,216 can be stored; it holds .* texts, .* or store fewer tensors"):
        pack({"a": "x" * MAX_HEADER_BYTES}, {})


def test_the_largest_header_comes_back():
    header = {"a": "x" * (MAX_HEADER_BYTES - len('{"a":""}'))}
    assert unpack(pack(header, {})).header == header


def test_too_many_sections_are_not_written():
    sections = {str(k): b"" for k in range(MAX_SECTIONS - 1)}
    assert unpack(pack({}, sections)).sections == sections
    with pytest.raises(LimitError):
        pack({}, {**sections, "one more": b""})


def test_a_section_called_header_is_not_written():
    with pytest.raises(LimitError):
        pack({}, {"header": b""})


def test_written_section_by_section_it_is_the_same_file(tmp_path):
    with ContainerWriter(tmp_path / "a.wz") as writer:
        for name, data in SECTIONS.items():
            writer.add(name, data)
        section_bytes = writer.finish(HEADER)
    assert (tmp_path / "a.wz").read_bytes() == FILE
    assert section_bytes == unpack(FILE).section_bytes


def test_sections_larger_than_a_piece_are_moved_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("weightzip.container.write._PIECE", 7)
    data = bytes(range(256)) * 3
    with ContainerWriter(tmp_path / "a.wz") as writer:
        writer.add("large", data)
        writer.finish(HEADER)
    assert (tmp_path / "a.wz").read_bytes() == pack(HEADER, {"large": data})


def test_a_file_of_the_first_version_is_read():
    assert unpack(with_header(compressed({}), version=1)).version == 1
    assert unpack(FILE).version == VERSION == 2


def test_an_open_file_reads_only_what_is_asked_for_and_checks_that(tmp_path):
    damaged = bytearray(FILE)
    damaged[-1] ^= 1  # of the last section, "scales"
    (tmp_path / "a.wz").write_bytes(damaged)
    with open_container(tmp_path / "a.wz") as container:
        assert container.sections["symbols"] == SECTIONS["symbols"]
        with pytest.raises(DamagedFileError, match="section 'scales' does not match its hash"):
            container.sections["scales"]
        with pytest.raises(DamagedFileError, match="section 'scales' does not match its hash"):
            container.check()


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(WeightzipError, match="cannot be read: No such file"), open_container(tmp_path / "none.wz"):
        pass
