"""Attacks on the frame: preamble, table of contents, and the header as it is packed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import zstandard
from hostile import HONEST, attack, header, honest, packed
from wz_parts import Parts, Section

from weightzip.errors import DamagedFileError, FormatError, LimitError

_BOMB = 1 << 28


def _with_header(packed_header: bytes) -> bytes:
    return Parts((Section(b"header", packed_header), Section(b"exact", HONEST))).join()


def _sections(*sections: Section) -> bytes:
    return Parts.of(honest()).with_sections(sections).join()


@attack(FormatError, "empty")
def empty_file() -> bytes:
    return b""


@attack(DamagedFileError, "cut off")
def nothing_but_the_magic() -> bytes:
    return b"\x89WZ\n"


@attack(LimitError, "format version 3")
def newer_version() -> bytes:
    return replace(Parts.of(honest()), version=3).join()


@attack(LimitError, "format version 0")
def version_zero() -> bytes:
    return replace(Parts.of(honest()), version=0).join()


@attack(LimitError, "flags 128")
def unknown_flag() -> bytes:
    return replace(Parts.of(honest()), flags=128).join()


@attack(DamagedFileError, "its table of contents is cut off")
def table_of_four_gigabytes() -> bytes:
    file = honest()
    return file[:6] + b"\xff" * 4 + file[10:]


@attack(LimitError, "table of contents takes")
def table_over_its_limit() -> bytes:
    """At the limit there is room for more sections than are allowed: this is one byte over it."""
    return Parts(()).join(table=bytes((8 << 20) + 1))


@attack(LimitError, "more than 65,536 sections")
def too_many_sections() -> bytes:
    return Parts(tuple(Section(b"%d" % number, b"") for number in range((1 << 16) + 1))).join()


@attack(FormatError, "ends within an entry")
def table_that_ends_within_an_entry() -> bytes:
    parts = Parts.of(honest())
    return parts.join(table=b"".join(section.entry() for section in parts.sections)[:-1])


@attack(FormatError, "names a section twice")
def two_sections_of_one_name() -> bytes:
    parts = Parts.of(honest())
    return _sections(*parts.sections, parts.sections[-1])


@attack(FormatError, "names a section twice")
def two_headers() -> bytes:
    parts = Parts.of(honest())
    return _sections(*parts.sections, parts.sections[0])


@attack(FormatError, "no header first")
def header_last() -> bytes:
    return _sections(*reversed(Parts.of(honest()).sections))


@attack(FormatError, "no header first")
def no_sections_at_all() -> bytes:
    return _sections()


@attack(FormatError, "not ASCII")
def name_of_a_section_that_is_not_ascii() -> bytes:
    return _sections(*Parts.of(honest()).sections, Section(b"\xff\xfe", b""))


@attack(DamagedFileError, "instead of")
def length_of_a_quarter_of_a_petabyte() -> bytes:
    first, exact = Parts.of(honest()).sections
    return _sections(first, replace(exact, length=(1 << 48) - 1))


@attack(DamagedFileError, "instead of")
def sections_that_overlap() -> bytes:
    """Both claim all bytes: what they claim is more than there is."""
    first, exact = Parts.of(honest()).sections
    size = len(first.data) + len(exact.data)
    return _sections(replace(first, length=size), replace(exact, length=size))


@attack(DamagedFileError, "section 'header' does not match")
def sections_shifted_by_a_byte() -> bytes:
    """Lengths that sum up to the right size, one a byte longer and one a byte shorter."""
    first, exact = Parts.of(honest()).sections
    return _sections(
        replace(first, length=len(first.data) + 1, digest=hashlib.sha256(first.data).digest()),
        replace(exact, length=len(exact.data) - 1),
    )


@attack(DamagedFileError, "instead of")
def bytes_after_the_last_section() -> bytes:
    return honest() + b"\0"


@attack(DamagedFileError, "instead of")
def last_byte_missing() -> bytes:
    return honest()[:-1]


@attack(DamagedFileError, "instead of")
def gap_between_sections() -> bytes:
    first, exact = Parts.of(honest()).sections
    return _sections(replace(first, data=first.data + bytes(8), length=len(first.data)), exact)


@attack(LimitError, "header unpacks to 16,777,217 bytes")
def header_one_byte_over_its_limit() -> bytes:
    return _with_header(zstandard.compress(b" " * ((16 << 20) + 1)))


@attack(LimitError, "header unpacks to 268,435,456 bytes")
def header_that_is_a_bomb() -> bytes:
    return _with_header(_frame(_BOMB))


@attack(FormatError, "does not say how long it is")
def header_that_is_a_bomb_of_unknown_size() -> bytes:
    return _with_header(_frame(_BOMB, told=False))


@attack(FormatError, "header cannot be read")
def header_that_is_a_bomb_and_says_it_is_small() -> bytes:
    frame = bytearray(_frame(_BOMB))
    place = frame.index(_BOMB.to_bytes(4, "little"))
    frame[place : place + 4] = (1000).to_bytes(4, "little")
    assert zstandard.frame_content_size(bytes(frame)) == 1000
    return _with_header(bytes(frame))


@attack(FormatError, "header cannot be read")
def header_with_a_second_frame() -> bytes:
    return _with_header(zstandard.compress(b"{}") + _frame(_BOMB))


@attack(FormatError, "header cannot be read")
def header_that_wants_a_dictionary() -> bytes:
    samples = [b'{"codec":"auto.2","meta":{"step":%d}}' % number for number in range(2000)]
    dictionary = zstandard.train_dictionary(1024, samples)
    return _with_header(zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[0]))


@attack(LimitError, "nested deeper than 256")
def header_one_level_too_deep() -> bytes:
    return packed(b'{"meta":' + b"[" * 256 + b"]" * 256 + b"}")


@attack(FormatError, "header cannot be read|nested deeper")
def header_a_million_levels_deep() -> bytes:
    return packed(b'{"meta":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}")


@attack(FormatError, "a field appears twice")
def header_with_a_field_twice() -> bytes:
    return packed(b'{"codec":"lossless.2","codec":"auto.2"}')


@attack(FormatError, "is no JSON")
def header_with_nan() -> bytes:
    return packed(header(error=[float("nan"), 0]))


@attack(FormatError, "header cannot be read")
def header_that_is_not_utf8() -> bytes:
    return packed(b'{"codec":"\xff"}')


@attack(FormatError, "not a JSON object")
def header_that_is_a_list() -> bytes:
    return packed(b"[]")


@attack(FormatError, "header cannot be read")
def number_of_a_million_digits() -> bytes:
    return packed(b'{"latents":' + b"9" * 1_000_000 + b"}")


@attack(FormatError, "lacks a field", slow=True)
def header_of_five_million_lists() -> bytes:
    """The most memory that 16 MiB of JSON can take."""
    return packed(b'{"meta":[' + b"[]," * 5_500_000 + b"[]]}")


def _frame(size: int, *, told: bool = True) -> bytes:
    """A zstandard frame of so many spaces."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=told).compressobj(size if told else -1)
    piece = b" " * (1 << 20)
    return b"".join(compressor.compress(piece) for _ in range(size >> 20)) + compressor.flush()
