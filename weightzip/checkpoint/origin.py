"""The files that a checkpoint comes from: never to be written to, and to stay as they are while they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightzip.checkpoint.folder import single_file
from weightzip.checkpoint.shards import INDEX_SUFFIX, is_shard_file
from weightzip.errors import CheckpointError
from weightzip.files import is_folder


@dataclass(frozen=True)
class Origin:
    """The files that a checkpoint is read from while it is compressed, and what they were like at first: sizes, times."""

    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int] | None, ...]

    @staticmethod
    def of(path: Path | None) -> Origin:
        """Of a checkpoint's path, a file or a folder; None where the checkpoint is in memory."""
        files = () if path is None else (path, *_shards_of(path))
        return Origin(files, tuple(map(_stamp, files)))

    def check(self) -> None:
        """Raise CheckpointError where a file is no longer what it was: parts of both would have been compressed."""
        for path, before in zip(self.files, self.stamps, strict=True):
            if _stamp(path) != before:
                raise CheckpointError(f"{path}: was changed while it was read; compress it once it is whole")


def _shards_of(path: Path) -> list[Path]:
    """What else is read, or may be, where a folder or an index of shards is named."""
    single = single_file(path)
    if single is not None:
        return [single]
    folder = path if is_folder(path) else path.parent if path.name.endswith(INDEX_SUFFIX) else None
    try:
        return [] if folder is None else sorted(filter(is_shard_file, folder.iterdir()))
    except OSError:
        return []  # reading the checkpoint will say what is wrong with it


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (0, 0) if is_folder(path) else (status.st_size, status.st_mtime_ns)
