"""A .wz file taken apart and put together without weightzip.container: with right hashes, or with any that are wanted."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import zstandard

MAGIC = b"\x89WZ\n"
_PREAMBLE = struct.Struct("<4sBBI")


@dataclass(frozen=True)
class Section:
    """length, digest: what the table of contents says where that is not what the data have."""

    name: bytes
    data: bytes
    length: int | None = None
    digest: bytes | None = None

    def entry(self) -> bytes:
        """Its entry in the table of contents."""
        length = len(self.data) if self.length is None else self.length
        digest = hashlib.sha256(self.data).digest() if self.digest is None else self.digest
        return bytes([len(self.name)]) + self.name + length.to_bytes(6, "little") + digest


@dataclass(frozen=True)
class Parts:
    """sections: the header's first, as a rule."""

    sections: tuple[Section, ...]
    version: int = 2
    flags: int = 0
    magic: bytes = field(default=MAGIC, repr=False)

    @staticmethod
    def of(data: bytes) -> Parts:
        """Those of a whole file."""
        magic, version, flags, table_bytes = _PREAMBLE.unpack_from(data)
        place, end = 42, 42 + table_bytes
        start, sections = end, []
        while place < end:
            stop = place + 1 + data[place]
            length = int.from_bytes(data[stop : stop + 6], "little")
            sections.append(Section(data[place + 1 : stop], data[start : start + length]))
            place, start = stop + 38, start + length
        return Parts(tuple(sections), version, flags, magic)

    def join(self, table: bytes | None = None) -> bytes:
        """The file; table: instead of the table of contents that fits."""
        table = b"".join(section.entry() for section in self.sections) if table is None else table
        preamble = _PREAMBLE.pack(self.magic, self.version, self.flags, len(table))
        digest = hashlib.sha256(preamble + table).digest()
        return preamble + digest + table + b"".join(section.data for section in self.sections)

    @property
    def header(self) -> dict:
        """The header's JSON."""
        return json.loads(zstandard.decompress(self.sections[0].data))

    def with_header(self, header: object) -> Parts:
        """The same with another header: JSON, or the text of one."""
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return self.with_packed_header(zstandard.compress(text))

    def with_packed_header(self, packed: bytes) -> Parts:
        """The same with these bytes for a header."""
        return replace(self, sections=(replace(self.sections[0], data=packed), *self.sections[1:]))

    def with_section(self, index: int, data: bytes) -> Parts:
        """The same with other data in one section."""
        changed = replace(self.sections[index], data=data)
        return self.with_sections((*self.sections[:index], changed, *self.sections[index + 1 :]))

    def with_sections(self, sections: Iterable[Section]) -> Parts:
        """The same with other sections."""
        return replace(self, sections=tuple(sections))

    def index(self, name: str) -> int:
        """Of the section called `name`."""
        return [section.name for section in self.sections].index(name.encode())
