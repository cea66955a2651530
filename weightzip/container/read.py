"""Reading .wz files: checked first, and then section by section, as much as is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from weightzip.container.format import (
    HASHED_PREAMBLE,
    HEADER,
    MAGIC,
    MAX_PACKED_HEADER_BYTES,
    MAX_TABLE_BYTES,
    PREAMBLE,
    READABLE,
    Entry,
    parse_header,
    parse_table,
    sha256,
)
from weightzip.errors import DamagedFileError, FormatError, LimitError, WeightzipError
from weightzip.interface import JSON

_PIECE = 1 << 20  # bytes read at a time where nothing is kept


@dataclass(frozen=True)
class Container:
    """An open file: its header (a JSON object), and its other sections, which are read when they are asked for.

    sections: each checked against its hash before it is given; DamagedFileError where it does not match.
    section_bytes: what each part of the file takes; sums to its size. "header" includes preamble and table of contents.
    """

    header: dict[str, JSON]
    sections: _Sections
    section_bytes: dict[str, int]
    version: int

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return sum(self.section_bytes.values())

    def check(self) -> None:
        """Check the hash of every section, with little memory. Raises DamagedFileError."""
        self.sections.check()


@contextlib.contextmanager
def open_container(path: Path, name: str | None = None) -> Iterator[Container]:
    """A .wz file, open for as long as the block lasts; `name` is what error messages call it, if not by its path.

    Raises as `unpack`, and WeightzipError where it cannot be read.
    """
    name = str(path) if name is None else name
    try:
        if path.exists() and not path.is_file():
            raise WeightzipError(f"{name}: is no file; name a file made by `weightzip compress`")
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(name, error) from error
    with file:
        yield _container(_File(file, name))


def unpack(data: bytes, name: str = "the file") -> Container:
    """Check a whole .wz file in memory, all of its hashes included; `name` is what error messages call it.

    Raises FormatError where it is not a .wz file, DamagedFileError where its bytes are not those written, and LimitError
    where it needs a newer version or goes over a limit.
    """
    container = _container(_File(io.BytesIO(data), name))
    container.check()
    return container


class _File:
    """Reads any part of a file; from several threads as well."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name, self._lock = file, name, threading.Lock()
        self.in_memory = isinstance(file, io.BytesIO)
        self.size = file.seek(0, io.SEEK_END)

    def read(self, start: int, length: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(start)
                return self._file.read(length)
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def digest(self, start: int, length: int) -> bytes:
        """SHA-256 of a part of the file."""
        state = hashlib.sha256()
        for position in range(start, start + length, _PIECE):
            state.update(self.read(position, min(_PIECE, start + length - position)))
        return state.digest()


class _Sections(Mapping[str, bytes]):
    """All sections but the header."""

    def __init__(self, file: _File, entries: list[Entry]) -> None:
        self._file = file
        self._entries = {entry.name: entry for entry in entries}
        self._are_right = False  # as they were checked in memory, where nothing changes any more

    def __getitem__(self, name: str) -> bytes:
        entry = self._entries[name]
        return self._file.read(entry.start, entry.length) if self._are_right else _read(self._file, entry)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self) -> None:
        for entry in self._entries.values():
            if self._file.digest(entry.start, entry.length) != entry.digest:
                raise _damaged(self._file, entry)
        self._are_right = self._file.in_memory


def _container(file: _File) -> Container:
    version, table = _checked_table(file)
    entries = parse_table(table, file.name)
    expected = entries[-1].start + entries[-1].length
    if file.size != expected:
        raise DamagedFileError(f"{file.name}: damaged: {file.size:,} bytes instead of {expected:,}; fetch it again")
    first, *others = entries
    if first.length > MAX_PACKED_HEADER_BYTES:
        raise LimitError(f"{file.name}: header of {first.length:,} bytes; at most {MAX_PACKED_HEADER_BYTES:,} are allowed")
    section_bytes = {entry.name: entry.length for entry in entries}
    section_bytes[HEADER] += first.start
    return Container(parse_header(_read(file, first), file.name), _Sections(file, others), section_bytes, version)


def _checked_table(file: _File) -> tuple[int, bytes]:
    """The format's version and the table of contents, once its hash has been found right."""
    name, data = file.name, file.read(0, PREAMBLE.size)
    if not data:
        raise FormatError(f"{name}: empty, hence not a .wz file; fetch it again")
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"{name}: not a .wz file (its first bytes are others); name a file made by `weightzip compress`")
    if len(data) < PREAMBLE.size:
        raise DamagedFileError(f"{name}: damaged: cut off within its first {PREAMBLE.size} bytes; fetch it again")
    _, version, flags, table_bytes, digest = PREAMBLE.unpack(data)
    if PREAMBLE.size + table_bytes > file.size:
        raise DamagedFileError(f"{name}: damaged: its table of contents is cut off; fetch it again")
    if table_bytes > MAX_TABLE_BYTES:
        raise LimitError(f"{name}: its table of contents takes {table_bytes:,} bytes; at most {MAX_TABLE_BYTES:,} are allowed")
    table = file.read(PREAMBLE.size, table_bytes)
    if sha256(data[:HASHED_PREAMBLE] + table) != digest:
        raise DamagedFileError(f"{name}: damaged: its table of contents does not match its hash; fetch it again")
    if version not in READABLE or flags:
        raise LimitError(f"{name}: written in format version {version} (flags {flags}); update weightzip to read it")
    return version, table


def _read(file: _File, entry: Entry) -> bytes:
    data = file.read(entry.start, entry.length)
    if sha256(data) != entry.digest:
        raise _damaged(file, entry)
    return data


def _unreadable(name: str, error: OSError) -> WeightzipError:
    hint = "; check the name" if isinstance(error, FileNotFoundError) else ""
    return WeightzipError(f"{name}: cannot be read: {error.strerror or error}{hint}")


def _damaged(file: _File, entry: Entry) -> DamagedFileError:
    return DamagedFileError(f"{file.name}: damaged: section {entry.name!r} does not match its hash; fetch it again")
