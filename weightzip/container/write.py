"""Writing .wz files: at once, or section by section with the header last."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from weightzip.container.format import HEADER, pack_head, sha256
from weightzip.interface import JSON

_PIECE = 8 << 20  # bytes moved at a time


def pack(header: Mapping[str, JSON], sections: Mapping[str, bytes]) -> bytes:
    """A whole .wz file.

    >>> from weightzip.container import unpack
    >>> container = unpack(pack({"preset": "paper"}, {"latents": b"abc"}))
    >>> container.header, dict(container.sections)
    ({'preset': 'paper'}, {'latents': b'abc'})
    """
    entries = [(name, len(data), sha256(data)) for name, data in sections.items()]
    return b"".join([pack_head(header, entries), *sections.values()])


class ContainerWriter:
    """Writes a .wz file to `path` as its sections come; nothing is kept in memory.

    What the header says is known last and stands first, so in the end the sections are moved up to make room for it. That
    takes no more disk than the file itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb+")
        self._entries: list[tuple[str, int, bytes]] = []
        self._size = 0

    def __enter__(self) -> ContainerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, data: bytes) -> None:
        """Append a section. Raises OSError where the system refuses to write, or would."""
        self._check_space(len(data))
        self._file.write(data)
        self._entries.append((name, len(data), sha256(data)))
        self._size += len(data)

    def finish(self, header: Mapping[str, JSON]) -> dict[str, int]:
        """Put the header before the sections; gives what each part of the file takes, as `Container.section_bytes`.

        Raises LimitError where the header goes over a limit.
        """
        head = pack_head(header, self._entries)
        self._check_space(len(head))
        self._move(len(head))
        self._file.seek(0)
        self._file.write(head)
        self._file.flush()
        return {HEADER: len(head), **{name: length for name, length, _ in self._entries}}

    def _check_space(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if free < num_bytes:
            raise OSError(errno.ENOSPC, f"needs {num_bytes:,} bytes more, but only {free:,} are free on that disk")

    def _move(self, distance: int) -> None:
        """Move all sections towards the end of the file, the last piece first."""
        for start in reversed(range(0, self._size, _PIECE)):
            self._file.seek(start)
            piece = self._file.read(min(_PIECE, self._size - start))
            self._file.seek(start + distance)
            self._file.write(piece)
