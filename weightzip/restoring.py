"""An open .wz file and what can be had from it: its state dict, one tensor, the checkpoint on disk."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.codec import (
    Header,
    check_kept,
    check_one,
    check_parts,
    check_written,
    decode_container,
    decode_parts,
    naming,
    part_sizes,
    read_header,
    tensor_bytes,
)
from weightzip.container import MAGIC, Container, open_container
from weightzip.errors import UsageError
from weightzip.files import atomic_path, check_output, check_space
from weightzip.folders import replaced_folder
from weightzip.interface import TensorSpec
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


def is_packed(path: Path) -> bool:
    """Whether a file begins as a .wz file does."""
    try:
        if not path.is_file():  # a pipe would wait for somebody to write
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False  # reading the checkpoint will say what is wrong with it


@contextlib.contextmanager
def opened(file: str | Path) -> Iterator[Opened]:
    """A .wz file, its header checked, and whether what it says of the checkpoint fits its tensors. Raises a WeightzipError."""
    path = Path(file)
    with open_container(path) as container:
        header = read_header(container, str(path))
        with naming(str(path)):
            places = checkpoints.locate(header.layout, header.tensors)
        yield Opened(container, header, path, places)


@dataclass(frozen=True)
class Opened:
    """A .wz file for as long as it is open.

    places: where in the stored tensors each tensor of the model's state dict is to be found.
    """

    container: Container
    header: Header
    path: Path
    places: Mapping[str, checkpoints.Location]

    def state(self, memory: int | None, progress: Progress = silent) -> dict[str, Tensor]:
        """The model's state dict. Raises LimitError where that takes more than `memory` bytes."""
        self.check_kept(memory)
        tensors = dict(self.parts(progress))
        with naming(str(self.path)):
            return checkpoints.state_dict(self.header.layout, {spec.name: tensors[spec.name] for spec in self.header.tensors})

    def module_state(self) -> dict[str, object]:
        """What a module loads: see `checkpoint.module_state`."""
        decoded = decode_container(self.container, self.header, str(self.path))
        with naming(str(self.path)):
            return checkpoints.module_state(self.header.layout, decoded.tensors)

    def tensor(self, name: str, memory: int | None = None) -> Tensor:
        """One tensor, by its key in the state dict or by its name in the file; the others are not decoded."""
        place = self.place(name)
        return self.view(self.stored(frozenset([place.base]), memory)[place.base], place, memory)

    def place(self, name: str) -> checkpoints.Location:
        """Where a tensor is, by its key in the state dict or by its name in the file. Raises UsageError where there is none."""
        if name in self.places:
            return self.places[name]
        for spec in self.header.tensors:
            if spec.name == name:
                return checkpoints.Location(name, spec.shape, checkpoints.View(0))
        with naming(str(self.path)):
            raise UsageError(f"holds no tensor {name!r}; `weightzip info {self.path}` lists them")

    def stored(self, names: frozenset[str], memory: int | None) -> dict[str, Tensor]:
        """Tensors by their names in the file; parts without any of them are not decoded."""
        with naming(str(self.path)):
            check_parts(self.header, part_sizes(self.container, self.header), memory, wanted=names)
            return dict(decode_parts(self.container, self.header, names))

    def view(self, tensor: Tensor, place: checkpoints.Location, memory: int | None) -> Tensor:
        """What is to be found at a place, in the memory of the stored tensor that is its base."""
        with naming(str(self.path)):
            # A window may be far larger than what it is of, once it is copied; what is only expanded is not.
            steps = place.view.window[1] if place.view.window else (1,) * len(place.shape)
            distinct = math.prod(size for size, step in zip(place.shape, steps, strict=True) if step)
            check_one(distinct * tensor.element_size(), memory)
            return checkpoints.apply_view(tensor, place.view)

    def check_memory(self, memory: int | None) -> None:
        """Raise LimitError where decoding part by part takes more than `memory` bytes."""
        with naming(str(self.path)):
            check_parts(self.header, part_sizes(self.container, self.header), memory)

    def check_kept(self, memory: int | None) -> None:
        """Raise LimitError where decoding takes more than `memory` bytes if all tensors are kept."""
        with naming(str(self.path)):
            check_kept(self.header, part_sizes(self.container, self.header), memory)

    def parts(self, progress: Progress) -> Iterator[tuple[str, Tensor]]:
        """All tensors, none of which is kept. Progress is told in bytes."""
        done, total = 0, self.header.tensor_bytes
        with naming(str(self.path)):
            for name, tensor in decode_parts(self.container, self.header):
                progress(ProgressEvent("restoring", done, total, name))
                done += tensor.nbytes
                yield name, tensor
                del tensor  # or it would stay until the next part has been decoded
        progress(ProgressEvent("restoring", total, total))

    def check(self, memory: int | None, progress: Progress) -> None:
        """Decode everything."""
        self.check_memory(memory)
        with naming(str(self.path)):
            check_written(self.header.tensor_bytes, self.container.file_bytes, memory)
        for _ in self.parts(progress):
            pass

    def summary(self, start: float) -> Summary:
        """What `info` says; start: when the work began."""
        return self._summarised(start, tensor_bytes(self.container, self.header, str(self.path)))

    def outline(self, start: float) -> Summary:
        """The same without what each tensor takes, which needs a look at most of the file."""
        return self._summarised(start, None)

    def _summarised(self, start: float, stored: Mapping[str, float] | None) -> Summary:
        return summarise(
            self.header,
            self.container.section_bytes,
            source=self.header.layout.source_name,
            output=str(self.path),
            seconds=time.monotonic() - start,
            stored=stored,
        )

    def default_output(self, tensor: str | None) -> Path:
        """Beside the file, under the source's own name, or one made from that of the one tensor."""
        layout = self.header.layout
        name = checkpoints.default_output(layout) if tensor is None else checkpoints.default_tensor_output(layout, tensor)
        return self.path.with_name(name)


def write(file: Opened, output: Path, tensor: str | None, memory: int | None, force: bool, progress: Progress) -> Restored:
    """Write the checkpoint, or one tensor of it, to a file, or to a folder if it came from one.

    Whether there is a place for it, memory and space is checked before its tensors are decoded.
    """
    start = time.monotonic()
    layout, specs = file.header.layout, file.header.tensors
    fmt = checkpoints.output_format(output, layout)
    folder = fmt == "shards" and tensor is None
    check_output(output, sources=[file.path], force=force, folder=folder)
    if tensor is None:
        file.check_memory(memory)
        source: Iterable[tuple[str, Tensor]] = file.parts(progress)
    else:
        single = checkpoints.from_object({tensor: file.tensor(tensor, memory)}, output.name)
        layout, source, specs = single.layout, single.tensors.items(), checkpoints.specs_of(single.tensors)
        fmt = "safetensors" if fmt == "shards" else fmt
    with naming(str(file.path)):
        num_bytes = checkpoints.written_bytes(layout, specs, fmt)
        check_written(num_bytes, file.container.file_bytes, memory)
    check_space(output, num_bytes)
    _write(layout, specs, source, output, fmt, force=force)
    complete = tensor is not None or fmt != "safetensors" or checkpoints.fits_safetensors(layout)
    count = len(specs) if fmt == "torch" else len(checkpoints.locate(layout, specs))
    summary = file.summary(start) if tensor is None else file.outline(start)
    return Restored(output, summary, complete, count, num_bytes)


def _write(
    layout: checkpoints.Layout,
    specs: Sequence[TensorSpec],
    source: Iterable[tuple[str, Tensor]],
    output: Path,
    fmt: checkpoints.Format,
    *,
    force: bool,
) -> None:
    with open_output(layout, specs, output, fmt, force=force) as writer:
        for name, tensor in source:
            writer.put(name, tensor)
            del tensor


@contextlib.contextmanager
def open_output(
    layout: checkpoints.Layout, specs: Sequence[TensorSpec], output: Path, fmt: checkpoints.Format, *, force: bool
) -> Iterator[checkpoints.Writer]:
    """Takes the tensors of a checkpoint, whose file or folder gets its name if the block succeeds."""
    may_go = checkpoints.is_shard_file if force else None
    target = replaced_folder(output, may_go=may_go) if fmt == "shards" else atomic_path(output, force=force)
    with naming(str(output)), target as temporary, checkpoints.open_writer(layout, specs, temporary, fmt) as writer:
        yield writer
