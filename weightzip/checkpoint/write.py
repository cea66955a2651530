"""Writing checkpoint files, tensor by tensor: no more than one has to be there at a time."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from weightzip.checkpoint.build import locate
from weightzip.checkpoint.dtypes import dtype_name, dtype_of
from weightzip.checkpoint.layout import Format, Layout
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.safetensors_file import SafetensorsFile
from weightzip.checkpoint.specs import num_bytes, specs_of
from weightzip.checkpoint.torch_file import TorchFile
from weightzip.errors import CheckpointError, FormatError
from weightzip.interface import TensorSpec

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
}


def output_format(path: Path, layout: Layout) -> Format:
    """The format that a file name asks for; the source's where its suffix says nothing."""
    if path.name == layout.source_name:
        return layout.format
    return _SUFFIXES.get(path.suffix.lower(), layout.format)


def fits_safetensors(layout: Layout) -> bool:
    """Whether a .safetensors file holds all of a checkpoint's values, or only those of its model."""
    if layout.tree is None:
        return True
    tag, _, *options = layout.tree if isinstance(layout.tree, list) and len(layout.tree) > 1 else (None, None)
    return tag == "state" and all(len(entry) == 2 for entry in (options[0] if options else {}).get("odd", []))


def written_bytes(layout: Layout, specs: Sequence[TensorSpec], fmt: Format) -> int:
    """Bytes of all values that a writer would write. What shares memory is written each by itself except to torch's format.

    Raises FormatError where specs and layout do not fit.
    """
    if fmt == "torch":
        return sum(map(num_bytes, specs))
    itemsize = {spec.name: dtype_of(spec.dtype).itemsize for spec in specs}
    return sum(math.prod(place.shape) * itemsize[place.base] for place in locate(layout, specs).values())


class Writer:
    """Takes the distinct tensors of a checkpoint, in any order, each once. Made by `open_writer`."""

    def __init__(self, specs: Sequence[TensorSpec], files: Sequence[_File]) -> None:
        self._expected = {spec.name: spec for spec in specs}
        self._files: dict[str, list[_File]] = {}  # that hold something of each tensor
        for file in files:
            for name in file.bases:
                self._files.setdefault(name, []).append(file)

    def put(self, name: str, tensor: Tensor) -> None:
        """Write the values of one tensor: contiguous, on the CPU, of the shape and dtype that its spec says.

        Several threads may do this at the same time. Raises FormatError for a tensor that is not expected (any more) or is
        not what its spec says, OSError where the system refuses to write.
        """
        spec = self._expected.pop(name, None)
        if spec is None:
            raise FormatError(f"tensor {name!r} is unknown, or was written already")
        if (tuple(tensor.shape), dtype_name(tensor.dtype)) != (spec.shape, spec.dtype):
            raise FormatError(f"tensor {name!r} is {tuple(tensor.shape)} of {tensor.dtype}, but should be {spec}")
        for file in self._files.get(name, []):
            file.put(name, tensor.detach().contiguous())

    def finish(self) -> None:
        """Raise FormatError if a tensor is still to be written."""
        if self._expected:
            raise FormatError(f"{len(self._expected)} tensors were not written, such as {next(iter(self._expected))!r}")


class _File(Protocol):
    """A file that is laid out, but without values."""

    @property
    def bases(self) -> Collection[str]:
        """Names of the distinct tensors of which it holds something."""

    def put(self, name: str, tensor: Tensor) -> None:
        """Fill in what the file holds of one tensor."""


@contextlib.contextmanager
def open_writer(layout: Layout, specs: Sequence[TensorSpec], path: Path, fmt: Format) -> Iterator[Writer]:
    """Write a checkpoint to `path` in format `fmt`, with the values that the block puts; whole when the block is left.

    Torch's format holds the whole tree, the others the model's state dict; for "shards" `path` is a folder that is there.
    specs: of the distinct tensors, in order. Space for all values is reserved at once. The same input gives the same file,
    whatever `path` is called and in whatever order tensors come.
    Raises OSError where the system refuses to write, CheckpointError where there is no state dict to write,
    UnsupportedCheckpointError where safetensors has no such dtype, FormatError where tensors and layout do not fit or the
    block has left one out.
    """
    if len({spec.name for spec in specs}) != len(specs):
        raise FormatError("two tensors of one name")
    writer = Writer(specs, _lay_out(layout, specs, path, fmt))
    yield writer
    writer.finish()


def write(layout: Layout, tensors: Mapping[str, Tensor], path: Path, fmt: Format) -> None:
    """`open_writer` for tensors that are all there, as for `rebuild`."""
    with open_writer(layout, specs_of(tensors), path, fmt) as writer:
        for name, tensor in tensors.items():
            writer.put(name, tensor)


@no_warnings()
def _lay_out(layout: Layout, specs: Sequence[TensorSpec], path: Path, fmt: Format) -> Sequence[_File]:
    if fmt == "torch":
        return [TorchFile(layout, specs, path)]
    places = locate(layout, specs)
    if not places:
        raise CheckpointError("it holds no state dict of a model; write it to a .pt file instead")
    by_name = {spec.name: spec for spec in specs}
    if fmt == "safetensors":
        return [SafetensorsFile(places, by_name, _metadata(layout), path)]
    if layout.shards is None:
        raise CheckpointError("it was not in shards; write it to a .safetensors file instead")
    parts = layout.shards.split(places)
    (path / layout.shards.index).write_text(json.dumps(layout.shards.index_of(places), indent=2) + "\n", encoding="utf-8")
    return [
        SafetensorsFile({key: places[key] for key in keys}, by_name, shard.metadata, path / shard.name) for shard, keys in parts
    ]


def _metadata(layout: Layout) -> Mapping[str, str] | None:
    """What the header of one file for all tensors says."""
    if layout.format == "safetensors":
        return layout.metadata
    of_shards = [shard.metadata for shard in layout.shards.files] if layout.shards is not None else []
    if of_shards and all(metadata == of_shards[0] for metadata in of_shards):
        return of_shards[0]
    return {"format": "pt"}  # readers ask where it comes from
