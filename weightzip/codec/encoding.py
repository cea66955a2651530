"""From a checkpoint to the parts of a .wz file, with any codec, and no more of it in memory than one part.

Checkpoint --look--> which tensors may be lossy, and their magnitudes --settle--> codec
           --part by part--> sections and what they restore to --> header

Parts are runs of tensors that are decoded without the others. One holds as many tensors as the largest one has weights,
or PART_WEIGHTS, so that tables and other side information cost next to nothing; a codec that needs all at once has one part.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint, dtype_of, num_bytes, release, specs_of
from weightzip.codec.decoding import EXACT, decode_part
from weightzip.codec.header import LOSSY_DTYPES, Header, Part, section_name
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.steps import Magnitudes
from weightzip.container import MAX_SECTIONS, header_text, pack, pack_head
from weightzip.interface import JSON, Codec, Payload
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.threads import side_by_side

PART_WEIGHTS = 1 << 24
EXACT_PART_BYTES = 1 << 20
_SMALLEST_DOUBLE = 1e-30  # below it float32 runs out of digits; float32's own subnormal numbers are as good as they are
_BLOCK = 1 << 20  # elements compared at a time, which bounds memory
_LARGE = 1 << 22  # elements of a tensor that is looked at by itself
_MOST_SECTIONS = 4  # of a lossy part


@runtime_checkable
class Partwise(Codec, Protocol):
    """A codec that can code a checkpoint in parts, once its settings are settled by the magnitudes of all tensors."""

    def settled(self, tensors: Mapping[str, Magnitudes]) -> Codec:
        """The codec for any part of these tensors."""


@dataclass(frozen=True)
class CodedPart:
    """One part: its sections under their names in the file, and what its tensors restore to, in their own dtype."""

    exact: bool
    sections: dict[str, bytes]
    restored: dict[str, Tensor]


@dataclass(frozen=True)
class Coded:
    """A coded checkpoint in memory: its header, its sections, and the tensors it restores to, in order.

    notes: what the codec reports about the encoding beyond the file, such as losses by epoch.
    """

    header: Header
    sections: dict[str, bytes]
    restored: dict[str, Tensor]
    notes: dict[str, Any]

    def pack(self) -> bytes:
        """The whole .wz file."""
        return pack(self.header.to_json(), self.sections)


def encode(checkpoint: Checkpoint, codec: Codec, progress: Progress = silent, *, max_error: float = math.inf) -> Coded:
    """Code a checkpoint, and measure what was lost; see `Encoding`. All of it is kept in memory."""
    encoding = Encoding(checkpoint, codec, progress, max_error=max_error)
    sections: dict[str, bytes] = {}
    restored: dict[str, Tensor] = {}
    for part in encoding.parts():
        sections |= part.sections
        restored |= part.restored
    return Coded(encoding.header(), sections, {name: restored[name] for name in checkpoint.tensors}, encoding.notes)


def file_size(checkpoint: Checkpoint, codec: Codec) -> int:
    """Bytes of the whole file, nothing of which is kept."""
    encoding = Encoding(checkpoint, codec)
    sizes: list[tuple[str, int, bytes]] = []
    for part in encoding.parts():
        sizes += [(name, len(data), bytes(32)) for name, data in part.sections.items()]
        del part  # before the next one is coded
    return len(pack_head(encoding.header().to_json(), sizes)) + sum(size for _, size, _ in sizes)


class Encoding:
    """One pass of a codec over a checkpoint, which is left as it is.

    Lossy coding is for finite floating-point weights of the model; everything else is stored bit for bit, and so is a
    tensor that would come back with an error above `max_error` (or overflow in a dtype of small range).
    """

    def __init__(
        self, checkpoint: Checkpoint, codec: Codec, progress: Progress = silent, *, max_error: float = math.inf
    ) -> None:
        self._checkpoint, self._codec, self._max_error = checkpoint, codec, max_error
        self._specs = {spec.name: spec for spec in specs_of(checkpoint.tensors)}
        self._progress = _Share(progress, sum(spec.num_elements for spec in self._specs.values()))
        self._lossy_parts: list[Part] = []
        self._exact_parts: list[Part] = []
        self._meta: dict[str, JSON] = {}
        self._latents = 0
        self._loss = Loss()
        self.notes: dict[str, Any] = {}

    def parts(self) -> Iterator[CodedPart]:
        """Code all parts, one after the other; lossy ones first. Raises LimitError where a file cannot hold so much."""
        lossless = isinstance(self._codec, LosslessCodec)
        magnitudes = {} if lossless else lossy_magnitudes(self._checkpoint)
        runs = self._lossy_runs(magnitudes)
        self._check_limits()
        broken: set[str] = set()
        codec = self._codec.settled(magnitudes) if magnitudes and isinstance(self._codec, Partwise) else self._codec
        for names in runs:
            yield from self._lossy_part(codec, names, broken)
        for names in self._exact_runs(magnitudes.keys() - broken):
            yield self._exact_part(names, measured=not lossless)

    def _lossy_runs(self, names: Iterable[str]) -> list[list[str]]:
        sizes = {name: self._specs[name].num_elements for name in names}
        partwise = isinstance(self._codec, Partwise)
        capacity = max(PART_WEIGHTS, *sizes.values()) if sizes and partwise else sum(sizes.values())
        return _fitting_runs(sizes, capacity, MAX_SECTIONS // 2 // _MOST_SECTIONS)  # half is left for exact ones

    def _exact_runs(self, lossy: Collection[str]) -> list[list[str]]:
        sizes = {name: num_bytes(spec) for name, spec in self._specs.items() if name not in lossy}
        return _fitting_runs(sizes, EXACT_PART_BYTES, MAX_SECTIONS - 1 - _MOST_SECTIONS * len(self._lossy_parts))

    def _check_limits(self) -> None:
        """Raise LimitError at once for what would be found out after everything has been coded."""
        header_text(replace(self.header(), exact=frozenset(self._specs)).to_json())

    def header(self) -> Header:
        """The header, once all parts have been coded."""
        exact = frozenset(spec.name for part in self._exact_parts for spec in part.specs)
        return Header(
            codec=self._codec.name if self._lossy_parts else LosslessCodec.name,
            meta=self._meta,
            tensors=tuple(self._specs.values()),
            exact=exact,
            layout=self._checkpoint.layout,
            relative_mse=self._loss.relative_mse,
            max_abs_error=self._loss.largest,
            lossy_parts=tuple(len(part.specs) for part in self._lossy_parts),
            exact_parts=tuple(len(part.specs) for part in self._exact_parts),
            latents=self._latents,
        )

    def _lossy_part(self, codec: Codec, names: list[str], broken: set[str]) -> Iterator[CodedPart]:
        """A part of these tensors but those that turn out to be `broken`; nothing where all are."""
        while names:
            tensors = {name: self._checkpoint.dense(name) for name in names}
            size = sum(tensor.numel() for tensor in tensors.values())
            payload = codec.encode({name: tensor.float() for name, tensor in tensors.items()}, self._progress.of(size))
            part = Part(False, len(self._lossy_parts), tuple(self._specs[name] for name in names))
            restored = self._restored(part, payload)
            losses = _losses(tensors, restored)
            failed = {name for name, loss in losses.items() if not loss.finite or loss.largest > self._max_error}
            if not failed:
                self._keep(part, payload, losses.values())
                sections = {section_name(kind, part.number): data for kind, data in payload.sections.items()}
                yield CodedPart(False, sections, restored)
                _release(self._checkpoint, names)
                self._progress.done(size)
                return
            broken |= failed
            names = [name for name in names if name not in failed]  # coded anew, as settings may depend on all of them

    def _restored(self, part: Part, payload: Payload) -> dict[str, Tensor]:
        decoded = decode_part(self._codec.name, payload.meta, part, payload.sections)
        return {spec.name: decoded.pop(spec.name).to(dtype_of(spec.dtype)) for spec in part.specs}

    def _keep(self, part: Part, payload: Payload, losses: Iterable[Loss]) -> None:
        assert not self._lossy_parts or payload.meta == self._meta  # there is one for the file
        self._lossy_parts.append(part)
        self._meta = payload.meta
        self._latents += payload.latents
        self.notes |= payload.notes
        for loss in losses:
            self._loss.add(loss)

    def _exact_part(self, names: list[str], *, measured: bool) -> CodedPart:
        """A part of these tensors, as they are; measured: whether something else may be lost, to which they are compared."""
        tensors = {name: self._checkpoint.dense(name) for name in names}
        part = Part(True, len(self._exact_parts), tuple(self._specs[name] for name in names))
        payload = LosslessCodec().encode(tensors)
        self._exact_parts.append(part)
        if measured:
            for tensor in tensors.values():
                self._loss.add(Loss.of(tensor, tensor))
        _release(self._checkpoint, names)
        self._progress.done(sum(tensor.numel() for tensor in tensors.values()))
        return CodedPart(True, {section_name(EXACT, part.number): data for data in payload.sections.values()}, tensors)


def lossy_magnitudes(checkpoint: Checkpoint) -> dict[str, Magnitudes]:
    """Of the tensors that a lossy codec may touch, in order: the model's own, floating-point, finite, in float32's range."""

    def look(name: str) -> Magnitudes:
        magnitudes = Magnitudes.of(checkpoint.dense(name))
        _release(checkpoint, [name])
        return magnitudes

    floating = [name for name, tensor in checkpoint.tensors.items() if tensor.dtype in LOSSY_DTYPES]
    names = [name for name in floating if name in checkpoint.weights]
    small = [name for name in names if checkpoint.tensors[name].numel() < _LARGE]
    found = dict(zip(small, side_by_side(look, small), strict=True))
    found |= {name: look(name) for name in names if name not in found}  # one by one, as each takes memory while it is read
    return {name: found[name] for name in names if _in_range(found[name], checkpoint.tensors[name])}


def _in_range(magnitudes: Magnitudes, tensor: Tensor) -> bool:
    """Whether float32, which lossy codecs compute with, holds a tensor: finite, and its largest value to all its digits."""
    largest = magnitudes.largest
    if not math.isfinite(largest):
        return False
    return tensor.dtype != torch.float64 or largest > _SMALLEST_DOUBLE or not bool(tensor.any())


def _release(checkpoint: Checkpoint, names: Iterable[str]) -> None:
    """Let go of the memory of tensors that are mapped from a file; it is read again where it is needed again."""
    if checkpoint.mapped:
        for name in names:
            release(checkpoint.tensors[name])


def _fitting_runs(sizes: Mapping[str, int], capacity: int, most: int) -> list[list[str]]:
    """`_runs` whose capacity is doubled until there are at most so many, as a file does not hold any number of sections.

    Memory stays bounded: any two neighbours exceed the capacity together, so that it ends below 4 / `most` of all sizes, which
    is less than a thousandth, or else as it began.
    """
    runs = list(_runs(sizes, capacity))
    while len(runs) > max(most, 1):
        capacity *= 2
        runs = list(_runs(sizes, capacity))
    return runs


def _runs(sizes: Mapping[str, int], capacity: int) -> Iterator[list[str]]:
    """The names in order, in runs of at most `capacity` or of one."""
    run: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if run and filled + size > capacity:
            yield run
            run, filled = [], 0
        run.append(name)
        filled += size
    if run:
        yield run


@dataclass
class Loss:
    """What was lost: sums over floating-point tensors; places that are not finite are exact.

    error, energy: squared, of the differences and of the source. largest: difference. finite: whether all that was restored is.
    """

    error: float = 0.0
    energy: float = 0.0
    largest: float = 0.0
    finite: bool = True

    @staticmethod
    def of(source: Tensor, restored: Tensor) -> Loss:
        """Of one tensor."""
        loss = Loss()
        if not source.dtype.is_floating_point or source.dtype == torch.float4_e2m1fn_x2:
            return loss
        originals, decoded = source.reshape(-1), restored.reshape(-1)
        for start in range(0, source.numel(), _BLOCK):
            exact = originals[start : start + _BLOCK].double()
            other = decoded[start : start + _BLOCK].double()
            difference = torch.nan_to_num(exact - other, nan=0.0)
            loss.add(
                Loss(
                    error=float(difference.square().sum()),
                    energy=float(torch.nan_to_num(exact, nan=0.0, posinf=0.0, neginf=0.0).square().sum()),
                    largest=float(difference.abs().max()),
                    finite=bool(torch.isfinite(other).all()),
                )
            )
        return loss

    def add(self, other: Loss) -> None:
        """Count what was lost elsewhere, too."""
        self.error += other.error
        self.energy += other.energy
        self.largest = max(self.largest, other.largest)
        self.finite &= other.finite

    @property
    def relative_mse(self) -> float:
        """Mean square error / mean square."""
        return self.error / self.energy if self.energy else 0.0


def _losses(source: Mapping[str, Tensor], restored: Mapping[str, Tensor]) -> dict[str, Loss]:
    """What each tensor has lost."""
    sizes = [tensor.numel() for tensor in source.values()]
    return dict(zip(source, side_by_side(lambda name: Loss.of(source[name], restored[name]), source, sizes), strict=True))


@dataclass
class _Share:
    """Progress over all tensors, of which a codec sees one part at a time."""

    progress: Progress
    total: int
    before: int = field(default=0, init=False)

    def of(self, size: int) -> Progress:
        """The codec's own progress, for as much of the whole as `size` elements are."""
        if size == self.total:
            return self.progress

        def scaled(event: ProgressEvent) -> None:
            within = size * event.done // max(event.total, 1)
            own = event.own or (event.done, event.total)
            self.progress(ProgressEvent(event.stage, self.before + within, self.total, event.detail, own))

        return scaled

    def done(self, size: int) -> None:
        self.before += size
        if size < self.total:
            self.progress(ProgressEvent("coding", self.before, self.total))
