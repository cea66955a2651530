"""An open .wz file and what can be had from it: its state dict, one tensor, the checkpoint on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.codec import (
    Decoded,
    Header,
    check_parts,
    check_written,
    decode_container,
    decode_parts,
    naming,
    specs_of,
)
from weightzip.container import Container
from weightzip.errors import UsageError
from weightzip.files import atomic_path, check_output, check_space
from weightzip.folders import replaced_folder
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.summary import Summary, summarise


@dataclass(frozen=True)
class Restored:
    """What was written where, and what `info` says of the .wz file. num_bytes: of the restored tensors.

    complete: whether the output holds all that the source held; a .safetensors file holds a model's tensors, nothing else.
    """

    output: Path
    summary: Summary
    complete: bool
    num_tensors: int
    num_bytes: int


@dataclass(frozen=True)
class Opened:
    """A .wz file whose header has been checked; for as long as its container is open."""

    container: Container
    header: Header
    path: Path

    def state(self, memory: int | None = None, progress: Progress = silent, *, strip_prefix: bool = False) -> dict[str, Tensor]:
        """The model's state dict. Raises LimitError where that takes more than `memory` bytes."""
        progress(ProgressEvent("restoring", 0, 1))
        tensors = self._decoded(memory).tensors
        progress(ProgressEvent("restoring", 1, 1))
        return checkpoints.state_dict(self.header.layout, tensors, strip_prefix=strip_prefix)

    def tensor(self, name: str, memory: int | None = None) -> Tensor:
        """One tensor, by its key in the state dict or by its name in the file; the others are not decoded."""
        with naming(str(self.path)):
            base, view = self._place(name)
            wanted = frozenset([base])
            check_parts(self.header, memory, wanted=wanted)
            tensors = dict(decode_parts(self.container, self.header, wanted))
            return checkpoints.apply_view(tensors[base], view)

    def parts(self, memory: int | None, progress: Progress) -> Iterator[tuple[str, Tensor]]:
        """All tensors, none of which is kept."""
        total = len(self.header.tensors)
        numbers = iter(range(total))
        with naming(str(self.path)):
            check_parts(self.header, memory)
            for name, tensor in decode_parts(self.container, self.header):  # enumerate would keep the last one
                progress(ProgressEvent("restoring", next(numbers), total, name))
                yield name, tensor
                del tensor  # or it would stay until the next part has been decoded
        progress(ProgressEvent("restoring", total, total))

    def check(self, memory: int | None, progress: Progress) -> None:
        """Decode everything, and see that the layout fits what comes out."""
        with naming(str(self.path)):
            checkpoints.locate(self.header.layout, self.header.tensors)
            check_written(self.header.tensor_bytes, self.container.file_bytes, memory)
            for _ in self.parts(memory, progress):
                pass

    def summary(self, start: float) -> Summary:
        """What `info` says; start: when the work began."""
        return summarise(
            self.header,
            self.container.section_bytes,
            source=self.header.layout.source_name,
            output=str(self.path),
            seconds=time.monotonic() - start,
        )

    def default_output(self, tensor: str | None) -> Path:
        """Beside the file, under the source's own name, or one made from that of the one tensor."""
        layout = self.header.layout
        name = checkpoints.default_output(layout) if tensor is None else checkpoints.default_tensor_output(layout, tensor)
        return self.path.with_name(name)

    def _decoded(self, memory: int | None) -> Decoded:
        return decode_container(self.container, self.header, str(self.path), memory=memory)

    def _place(self, name: str) -> tuple[str, checkpoints.View]:
        """The stored tensor that a tensor is a part of, and which."""
        places = checkpoints.locate(self.header.layout, self.header.tensors)
        if name in places:
            return places[name].base, places[name].view
        if any(spec.name == name for spec in self.header.tensors):
            return name, checkpoints.View(0)
        raise UsageError(f"holds no tensor {name!r}; `weightzip info {self.path}` lists them")


def write(opened: Opened, output: Path, tensor: str | None, memory: int | None, force: bool, progress: Progress) -> Restored:
    """Write the checkpoint, or one tensor of it, to a file, or to a folder if it came from one.

    Everything is checked before anything is decoded.
    """
    start = time.monotonic()
    layout, specs = opened.header.layout, opened.header.tensors
    fmt = checkpoints.output_format(output, layout)
    folder = fmt == "shards" and tensor is None
    check_output(output, source=opened.path, force=force, folder=folder)
    source: Iterable[tuple[str, Tensor]] = opened.parts(memory, progress)
    if tensor is not None:
        single = checkpoints.from_object({tensor: opened.tensor(tensor, memory)}, output.name)
        layout, source, specs = single.layout, single.tensors.items(), specs_of(single.tensors)
        fmt = "safetensors" if fmt == "shards" else fmt
    with naming(str(output)):
        num_bytes = checkpoints.written_bytes(layout, specs, fmt)
        check_written(num_bytes, opened.container.file_bytes, memory)
    check_space(output, num_bytes)
    target = replaced_folder(output, may_go=_is_shard) if folder else atomic_path(output)
    with target as temporary, checkpoints.open_writer(layout, specs, temporary, fmt) as writer:
        for name, value in source:
            writer.put(name, value)
            del value
    complete = tensor is not None or fmt != "safetensors" or checkpoints.fits_safetensors(layout)
    return Restored(output, opened.summary(start), complete, len(specs), num_bytes)


def _is_shard(path: Path) -> bool:
    """Whether a file belongs to a sharded checkpoint, so that a new one may take its place."""
    return path.name.endswith((".safetensors", ".safetensors.index.json"))
