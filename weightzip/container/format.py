"""The .wz format, version 1.

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
hash that is checked before anything is decoded. The hashes detect damage; they do not protect against forgery.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard

from weightzip.errors import DamagedFileError, FormatError, LimitError
from weightzip.interface import JSON

MAGIC = b"\x89WZ\n"
VERSION = 1
MAX_HEADER_BYTES = 16 << 20  # of the JSON, unpacked
MAX_SECTIONS = 64

_PREAMBLE = struct.Struct("<4sBBI32s")
_HASHED_PREAMBLE = _PREAMBLE.size - 32
_ENTRY = struct.Struct("<6s32s")
_HEADER = "header"


@dataclass(frozen=True)
class Container:
    """A file's header (a JSON object), its other sections, and how many bytes each part of it takes on disk."""

    header: dict[str, JSON]
    sections: dict[str, bytes]
    section_bytes: dict[str, int]  # sums to the size of the file; "header" includes preamble and table of contents


def pack(header: Mapping[str, JSON], sections: Mapping[str, bytes]) -> bytes:
    """A whole .wz file.

    >>> container = unpack(pack({"preset": "paper"}, {"latents": b"abc"}))
    >>> container.header, container.sections
    ({'preset': 'paper'}, {'latents': b'abc'})
    """
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_HEADER_BYTES or len(sections) >= MAX_SECTIONS or _HEADER in sections:
        raise LimitError(f"the header takes {len(text):,} bytes; at most {MAX_HEADER_BYTES:,} can be stored")
    compressor = zstandard.ZstdCompressor(level=19, write_checksum=False)
    parts = {_HEADER: compressor.compress(text), **sections}
    table = b"".join(
        bytes([len(name)]) + name.encode("ascii") + _ENTRY.pack(len(data).to_bytes(6, "little"), _sha256(data))
        for name, data in parts.items()
    )
    preamble = _PREAMBLE.pack(MAGIC, VERSION, 0, len(table), b"")[:_HASHED_PREAMBLE]
    return preamble + _sha256(preamble + table) + table + b"".join(parts.values())


def unpack(data: bytes, name: str = "the file") -> Container:
    """Check a whole .wz file and take it apart; `name` is what error messages call it.

    Raises FormatError where it is not a .wz file, DamagedFileError where its bytes are not those written, and LimitError
    where it needs a newer version or goes over a limit.
    """
    table = _checked_table(data, name)
    entries = _entries(table, name)
    start = _PREAMBLE.size + len(table)
    expected = start + sum(length for _, length, _ in entries)
    if len(data) != expected:
        raise DamagedFileError(f"{name}: damaged: {len(data):,} bytes instead of {expected:,}; fetch it again")
    sections: dict[str, bytes] = {}
    for section, length, digest in entries:
        sections[section] = data[start : start + length]
        start += length
        if _sha256(sections[section]) != digest:
            raise DamagedFileError(f"{name}: damaged: section {section!r} does not match its hash; fetch it again")
    section_bytes = {section: len(content) for section, content in sections.items()}
    section_bytes[_HEADER] += _PREAMBLE.size + len(table)
    return Container(_parse_header(sections.pop(_HEADER), name), sections, section_bytes)


def _checked_table(data: bytes, name: str) -> bytes:
    """The table of contents, once its hash has been found right."""
    if not data:
        raise FormatError(f"{name}: empty, hence not a .wz file")
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"{name}: not a .wz file (its first bytes are others); name a file made by `weightzip compress`")
    if len(data) < _PREAMBLE.size:
        raise DamagedFileError(f"{name}: damaged: cut off within its first {_PREAMBLE.size} bytes; fetch it again")
    _, version, flags, table_bytes, digest = _PREAMBLE.unpack_from(data)
    table = data[_PREAMBLE.size : _PREAMBLE.size + table_bytes]
    if _sha256(data[:_HASHED_PREAMBLE] + table) != digest:
        raise DamagedFileError(f"{name}: damaged: its table of contents does not match its hash; fetch it again")
    if version != VERSION or flags:
        raise LimitError(f"{name}: written in format version {version} (flags {flags}); update weightzip to read it")
    return table


def _entries(table: bytes, name: str) -> list[tuple[str, int, bytes]]:
    """The table of contents as (section, number of bytes, SHA-256)."""
    entries: list[tuple[str, int, bytes]] = []
    offset = 0
    while offset < len(table):
        end = offset + 1 + table[offset]
        if end + _ENTRY.size > len(table):
            raise FormatError(f"{name}: its table of contents ends within an entry")
        section = table[offset + 1 : end].decode("ascii", errors="replace")
        length, digest = _ENTRY.unpack_from(table, end)
        entries.append((section, int.from_bytes(length, "little"), digest))
        offset = end + _ENTRY.size
    names = [section for section, _, _ in entries]
    if len(names) > MAX_SECTIONS or len(set(names)) != len(names) or names[:1] != [_HEADER]:
        raise FormatError(f"{name}: its table of contents names too many sections, one twice, or no header first")
    return entries


def _parse_header(data: bytes, name: str) -> dict[str, JSON]:
    try:
        size = zstandard.frame_content_size(data)
        if size > MAX_HEADER_BYTES:
            raise LimitError(f"{name}: its header unpacks to {size:,} bytes; at most {MAX_HEADER_BYTES:,} are allowed")
        if size < 0:
            raise FormatError(f"{name}: its header does not say how long it is")
        header = json.loads(zstandard.ZstdDecompressor().decompress(data))
    except (zstandard.ZstdError, ValueError, RecursionError) as error:
        raise FormatError(f"{name}: its header cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise FormatError(f"{name}: its header is not a JSON object")
    return header


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
