"""What .safetensors files hold, told from their headers, and whether two checkpoints hold the same; of any size.

Nothing of the checkpoint room is used here, so that what that room writes is judged by other eyes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from weightzip.errors import MeasurementError

_BLOCK = 1 << 22  # bytes that are read at once


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. dtype: as the format calls it. start: where its bytes begin in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    def digest(self) -> bytes:
        """SHA-256 of its bytes, a block at a time. Raises OSError."""
        state = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.num_bytes
            while left and (block := file.read(min(left, _BLOCK))):
                state.update(block)
                left -= len(block)
        return state.digest()


def stored_tensors(source: Path) -> dict[str, Stored]:
    """The tensors of a .safetensors file, or of all such files in a folder, in the order of names and of headers.

    Raises MeasurementError where anything is missing, twice there, or no such file.
    """
    files = sorted(source.glob("*.safetensors")) if source.is_dir() else [source]
    found: dict[str, Stored] = {}
    for path in files:
        try:
            tensors = dict(_read_header(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise MeasurementError(f"{path}: is no .safetensors file: {error}") from error
        if twice := found.keys() & tensors.keys():
            raise MeasurementError(f"{path}: holds {min(twice)} a second time")
        found |= tensors
    return found


def _read_header(path: Path) -> Iterator[tuple[str, Stored]]:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            yield name, Stored(path, entry["dtype"], tuple(entry["shape"]), begin + first, last - first)


def check_same_tensors(source: Path, restored: Path) -> None:
    """Raise MeasurementError unless both hold tensors of the same names, shapes and dtypes, and both in the same files."""
    wanted, found = stored_tensors(source), stored_tensors(restored)
    if missing := wanted.keys() - found.keys():
        raise MeasurementError(f"{restored}: {min(missing)} was not restored")
    if added := found.keys() - wanted.keys():
        raise MeasurementError(f"{restored}: {min(added)} was restored, but never there")
    for name, stored in wanted.items():
        if (found[name].dtype, found[name].shape) != (stored.dtype, stored.shape):
            raise MeasurementError(f"{restored}: {name} is {_kind(found[name])}, not {_kind(stored)}")
        if source.is_dir() and found[name].path.name != stored.path.name:
            raise MeasurementError(f"{restored}: {name} is in {found[name].path.name}, not in {stored.path.name}")


def check_same_bits(source: Path, restored: Path) -> None:
    """As `check_same_tensors`, and each bit must be the same. Raises MeasurementError."""
    check_same_tensors(source, restored)
    wanted, found = stored_tensors(source), stored_tensors(restored)
    for name, stored in wanted.items():
        if found[name].digest() != stored.digest():
            raise MeasurementError(f"{restored}: {name} did not come back bit by bit")


def _kind(stored: Stored) -> str:
    return f"{stored.dtype} {list(stored.shape)}"
