"""Torch's file format, written tensor by tensor: torch.save lays the file out, and the values are filled in later.

The file is a zip archive: a pickle of the tree, and a record "data/<k>" for the k-th distinct tensor. torch.save is given
stand-ins of the right shapes and leaves holes for their values; their checksums are put right with the values.
"""

from __future__ import annotations

import errno
import mmap
import struct
import sys
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from weightzip.checkpoint.build import rebuild
from weightzip.checkpoint.dtypes import dtype_of
from weightzip.checkpoint.layout import Layout
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.raw import allocate, byte_blocks, write_at
from weightzip.checkpoint.specs import num_bytes
from weightzip.errors import CheckpointError
from weightzip.interface import TensorSpec

_ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ENTRY = b"PK\x01\x02"  # begins an entry of the archive's directory: this many bytes, and in them, from these offsets on,
_ENTRY_BYTES, _ENTRY_CRC, _ENTRY_LENGTHS = 46, 16, 28  # the checksum and the lengths of what follows
_DESCRIPTOR = b"PK\x07\x08"  # begins what may follow a record's data: checksum and sizes
_CRC = struct.Struct("<L")


@dataclass(frozen=True)
class _Record:
    """Where in the file the values of a tensor lie, and all the places of their checksum (offsets in bytes)."""

    start: int
    checksums: tuple[int, ...]


class TorchFile:
    """A .pt file, without its values at first.

    Raises OSError where the system refuses to write, CheckpointError for a torch whose files are not understood.
    """

    def __init__(self, layout: Layout, specs: Sequence[TensorSpec], path: Path) -> None:
        self._path = path
        _save(rebuild(layout, stand_ins(specs)), path)
        allocate(path, path.stat().st_size)
        self._records = {spec.name: record for spec, record in zip(specs, _records(path, specs), strict=True)}

    @property
    def bases(self) -> Collection[str]:
        """Names of the tensors: all."""
        return self._records.keys()

    def put(self, name: str, tensor: Tensor) -> None:
        """Fill in the values of one tensor."""
        record = self._records[name]
        offset, checksum = record.start, 0
        with self._path.open("r+b", buffering=0) as file:
            for block in byte_blocks(tensor):
                write_at(file, offset, block)
                checksum = zlib.crc32(block, checksum)
                offset += len(block)
            for place in record.checksums:
                write_at(file, place, _CRC.pack(checksum))


@no_warnings()  # that they must not be written to
def stand_ins(specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """Tensors of the shapes and dtypes asked for, each with a storage of its own, that take up no memory; never to be read.

    Raises OSError where not even addresses are left for them.
    """
    starts, stop = [], 0
    for spec in specs:
        starts.append(stop)
        stop += -(-num_bytes(spec) // _ALIGNMENT) * _ALIGNMENT
    region = _addresses(stop)
    return {spec.name: _stand_in(spec, region, start) for spec, start in zip(specs, starts, strict=True)}


def _addresses(size: int) -> mmap.mmap | None:
    """Addresses without memory behind them: what can only be read needs none, however strictly the system counts."""
    if size == 0:
        return None
    if size > sys.maxsize:
        raise OSError(errno.ENOMEM, "more tensors than a process has addresses for")
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)


def _stand_in(spec: TensorSpec, region: mmap.mmap | None, start: int) -> Tensor:
    dtype = dtype_of(spec.dtype)
    if region is None or spec.num_elements == 0:
        return torch.empty(spec.shape, dtype=dtype)
    flat = torch.frombuffer(region, dtype=torch.uint8, count=num_bytes(spec), offset=start)
    return flat.view(dtype).reshape(spec.shape)


def _save(root: object, path: Path) -> None:
    try:
        # Given a path, torch.save would write its name into the file.
        with path.open("wb") as file, torch.serialization.skip_data():
            torch.save(root, file)
    except RuntimeError as error:
        # A write that failed breaks the archive, and torch reports only that.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise OSError(errno.EIO, f"torch.save failed: {error}") from error


def _records(path: Path, specs: Sequence[TensorSpec]) -> list[_Record]:
    """The record of each tensor: torch numbers storages as it meets them, which is the order of the distinct tensors."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        file.seek(archive.start_dir)
        listed = _checksums_in_directory(file.read(), archive.start_dir)
        entries = {
            entry.filename.partition("/")[2]: (entry, place) for entry, place in zip(archive.infolist(), listed, strict=True)
        }
        records = []
        for number, spec in enumerate(specs):
            entry, place = entries.get(f"data/{number}", (None, 0))
            if entry is None or entry.file_size != num_bytes(spec) or entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"torch {torch.__version__} lays files out in an unknown way; write a .safetensors file")
            start = _start(file, entry.header_offset)
            file.seek(start + entry.file_size)
            described = [file.tell() + len(_DESCRIPTOR)] if file.read(len(_DESCRIPTOR)) == _DESCRIPTOR else []
            records.append(_Record(start, (place, *described)))
    return records


def _start(file: BinaryIO, header_offset: int) -> int:
    """Where the data begin that belong to a local header."""
    file.seek(header_offset)
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return header_offset + _LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _checksums_in_directory(directory: bytes, start: int) -> list[int]:
    """Where in the file each checksum stands in the archive's directory, which begins at `start`, in its order."""
    places, at = [], 0
    while directory[at : at + 4] == _ENTRY:
        places.append(start + at + _ENTRY_CRC)
        lengths = struct.unpack_from("<3H", directory, at + _ENTRY_LENGTHS)  # of name, extra field, comment
        at += _ENTRY_BYTES + sum(lengths)
    return places
