"""The .wz format.

    offset  bytes  what
    0       4      magic: 89 57 5A 0A  ("\\x89WZ\\n": not text, and broken by a transfer that rewrites line ends)
    4       1      version
    5       1      feature flags: none defined, must be 0
    6       4      number of bytes T of the table of contents, little-endian
    10      32     SHA-256 of bytes 0 to 9 followed by the table of contents
    42      T      table of contents: for each section
                       1 byte length of its name, its name in ASCII, 6 bytes length of its data, 32 bytes SHA-256 of its data
    42 + T         the sections' data in the order of the table, without gaps, to the end of the file

The first section is always "header": a JSON object in UTF-8, compressed with zstandard. Every byte of the file stands under a
hash that is checked before it is decoded. The hashes detect damage; they do not protect against forgery.

Version 1 is read still; the two differ only in what header and sections mean (`weightzip.codec.header`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import zstandard

from weightzip.errors import FormatError, LimitError
from weightzip.interface import JSON

MAGIC = b"\x89WZ\n"
VERSION = 2
READABLE = (1, VERSION)
HEADER = "header"
MAX_SECTIONS = 1 << 16
MAX_TABLE_BYTES = 8 << 20
MAX_HEADER_BYTES = 16 << 20  # of the JSON, unpacked
MAX_DIGITS = 20  # of an integer: those of 64 bits; a dict of larger ones could be made such that all fall in one place
MAX_PACKED_HEADER_BYTES = MAX_HEADER_BYTES + (64 << 10)  # what does not shrink grows a little
MAX_HEADER_DEPTH = 256  # objects and lists inside each other: 64 containers of a checkpoint's tree take up to 4 each, some less

PREAMBLE = struct.Struct("<4sBBI32s")
HASHED_PREAMBLE = PREAMBLE.size - 32
_ENTRY = struct.Struct("<6s32s")


@dataclass(frozen=True)
class Entry:
    """A section in the table of contents: its name, where its data lie in the file, and their SHA-256."""

    name: str
    start: int
    length: int
    digest: bytes


def pack_head(header: Mapping[str, JSON], sections: Iterable[tuple[str, int, bytes]]) -> bytes:
    """All that stands before the first section: preamble, table of contents and header.

    sections: (name, number of bytes, SHA-256) of each. Raises LimitError where a limit would be exceeded.
    """
    packed = zstandard.ZstdCompressor(level=19, write_checksum=False).compress(header_text(header))
    entries = [(HEADER, len(packed), sha256(packed)), *sections]
    table = b"".join(
        bytes([len(name)]) + name.encode("ascii") + _ENTRY.pack(length.to_bytes(6, "little"), digest)
        for name, length, digest in entries
    )
    if len({name for name, _, _ in entries}) < len(entries):
        raise LimitError("two sections have one name")
    if len(entries) > MAX_SECTIONS or len(table) > MAX_TABLE_BYTES:
        raise LimitError(f"there are {len(entries):,} sections; at most {MAX_SECTIONS:,} can be stored")
    preamble = PREAMBLE.pack(MAGIC, VERSION, 0, len(table), b"")[:HASHED_PREAMBLE]
    return preamble + sha256(preamble + table) + table + packed


def header_text(header: Mapping[str, JSON]) -> bytes:
    """The header as it is stored, before it is compressed. Raises LimitError where it is too long."""
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise LimitError(
            f"the header takes {len(text):,} bytes; {MAX_HEADER_BYTES:,} can be stored; it holds the names of the tensors "
            "and the texts, numbers and lists around them; leave those out, or store fewer tensors"
        )
    return text


def parse_table(table: bytes, name: str) -> list[Entry]:
    """The sections that a table of contents names; `name` is what error messages call the file."""
    entries: list[Entry] = []
    offset, start = 0, PREAMBLE.size + len(table)
    while offset < len(table):
        end = offset + 1 + table[offset]
        if end + _ENTRY.size > len(table):
            raise FormatError(f"{name}: its table of contents ends within an entry")
        if len(entries) == MAX_SECTIONS:
            raise LimitError(f"{name}: has more than {MAX_SECTIONS:,} sections")
        section = table[offset + 1 : end]
        if not section.isascii():
            raise FormatError(f"{name}: the name of a section is not ASCII")
        length, digest = _ENTRY.unpack_from(table, end)
        entries.append(Entry(section.decode("ascii"), start, int.from_bytes(length, "little"), digest))
        offset = end + _ENTRY.size
        start += entries[-1].length
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names) or names[:1] != [HEADER]:
        raise FormatError(f"{name}: its table of contents names a section twice, or no header first")
    return entries


def parse_header(data: bytes, name: str) -> dict[str, JSON]:
    """The header's JSON object; `name` is what error messages call the file."""
    try:
        size = zstandard.frame_content_size(data)
        if size > MAX_HEADER_BYTES:
            raise LimitError(f"{name}: its header unpacks to {size:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed")
        if size < 0:
            raise FormatError(f"{name}: its header does not say how long it is")
        text = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant)
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise FormatError(f"{name}: its header cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise FormatError(f"{name}: its header is not a JSON object")
    _check_depth(header, name)
    return header


def sha256(data: bytes) -> bytes:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(data).digest()


def _check_depth(header: JSON, name: str) -> None:
    """Raise LimitError where objects and lists stand inside each other too deeply."""
    level: list[JSON] = [header]
    depth = 0
    while level:
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [node for node in level if isinstance(node, (dict, list))]
        depth += 1
        if depth > MAX_HEADER_DEPTH:
            raise LimitError(f"{name}: its header is nested deeper than {MAX_HEADER_DEPTH}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field appears twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > MAX_DIGITS:
        raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
    return int(digits)


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
