"""What coding a checkpoint comes to, from coding a sample of it: bytes of each tensor, what is lost, and seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from weightzip.checkpoint import Checkpoint, num_bytes, specs_of
from weightzip.codec import AutoCodec, Coded, Header, LosslessCodec, decode_parts, encode, section_kind, tensor_bytes
from weightzip.codec.auto import BoundedCodec
from weightzip.codec.encoding import EXACT_PART_BYTES, PART_WEIGHTS, Loss
from weightzip.codec.steps import Magnitudes, choose_steps
from weightzip.container import Container, pack_head, unpack
from weightzip.costs import coding_effort
from weightzip.estimating.sample import Budget, Sample, sample_of
from weightzip.progress import Progress, silent
from weightzip.vae.gaussian import DISTORTION

SampledCodec: TypeAlias = AutoCodec | BoundedCodec | LosslessCodec
_LEAST_BITS = 0.05  # of an element, by which tensors go that are not in the sample
_EXACT = "exact"
_COMPARING = 1.3  # times as long as decoding alone: hashes before and after


@dataclass(frozen=True)
class Coding:
    """What is expected of coding a checkpoint at one setting.

    header: with the losses of the sample carried over to all tensors. stored: bytes of each tensor. sections: bytes by name,
    header included; they sum to the file's. seconds: of coding all of it, once. verifying: seconds of decoding it in the end.
    """

    header: Header
    stored: dict[str, float]
    sections: dict[str, int]
    seconds: float
    verifying: float

    @property
    def file_bytes(self) -> int:
        """Of the whole file."""
        return sum(self.sections.values())


def expected_coding(
    model: Checkpoint,
    magnitudes: Mapping[str, Magnitudes],
    codec: SampledCodec,
    budget: Budget,
    *,
    max_error: float = math.inf,
    progress: Progress = silent,
) -> Coding:
    """Code a sample of a checkpoint. magnitudes: of all tensors that may be lossy, by which steps are settled."""
    sample = sample_of(model, magnitudes, budget)
    start = time.perf_counter()
    settled = codec if isinstance(codec, LosslessCodec) else codec.settled(magnitudes)
    coded = encode(sample.checkpoint, settled, progress, max_error=max_error)
    seconds = time.perf_counter() - start
    packed = coded.pack()
    container = unpack(packed)
    taken = tensor_bytes(container, coded.header, "the sample")
    stored = _stored(model, sample, taken, _bits(model, magnitudes, codec))
    header = _header(model, sample, coded)
    tables = len(packed) - len(_head(coded.header, [len(data) for data in coded.sections.values()])) - sum(taken.values())
    scale = _scale(model, sample)
    sections = _sections(header, coded, stored, tables)
    return Coding(header, stored, sections, scale * seconds, scale * seconds_of_verifying(container, coded.header))


def seconds_of_verifying(container: Container, header: Header) -> float:
    """What it takes to decode a file and to compare it."""
    start = time.perf_counter()
    for _ in decode_parts(container, header):
        pass
    return _COMPARING * (time.perf_counter() - start)


def _bits(model: Checkpoint, magnitudes: Mapping[str, Magnitudes], codec: SampledCodec) -> dict[str, float]:
    """About what an element of each tensor takes, relative to the others: a Gaussian of its deviation at its step."""
    bits = {name: 8.0 * tensor.element_size() for name, tensor in model.tensors.items()}
    if isinstance(codec, LosslessCodec):
        return bits
    if isinstance(codec, AutoCodec):
        steps = dict(zip(magnitudes, choose_steps(magnitudes, codec.step, codec.shifts).sizes(), strict=True))
    else:
        steps = dict(codec.max_errors)
    for name, found in magnitudes.items():
        bits[name] = _LEAST_BITS + 0.5 * math.log2(1.0 + (found.deviation / steps[name]) ** 2 / DISTORTION)
    return bits


def _stored(model: Checkpoint, sample: Sample, taken: Mapping[str, float], bits: Mapping[str, float]) -> dict[str, float]:
    """Bytes of each tensor: those of its group in the sample, in proportion to elements and bits."""
    stored: dict[str, float] = {}
    for group in sample.groups:
        looked_at = sum(bits[name] * sample.checkpoint.tensors[name].numel() for name in group.chosen)
        price = sum(taken[name] for name in group.chosen) / looked_at if looked_at else 0.0
        stored |= {name: price * bits[name] * model.tensors[name].numel() for name in group.names}
    return {name: stored[name] for name in model.tensors}


def _header(model: Checkpoint, sample: Sample, coded: Coded) -> Header:
    """The sample's header, for all tensors."""
    losses = Loss()
    exact: set[str] = set()
    for group in sample.groups:
        looked_at = sum(sample.checkpoint.tensors[name].numel() for name in group.chosen)
        share = sum(model.tensors[name].numel() for name in group.names) / looked_at if looked_at else 0.0
        for name in group.chosen:
            loss = Loss.of(sample.checkpoint.tensors[name], coded.restored[name])
            losses.add(replace(loss, error=share * loss.error, energy=share * loss.energy))
        if coded.header.exact.issuperset(group.chosen):
            exact.update(group.names)
    specs = tuple(specs_of(model.tensors))
    lossy = [spec.num_elements for spec in specs if spec.name not in exact]
    kept = [num_bytes(spec) for spec in specs if spec.name in exact]
    return replace(
        coded.header,
        tensors=specs,
        exact=frozenset(exact),
        relative_mse=losses.relative_mse,
        max_abs_error=losses.largest,
        lossy_parts=_parts(lossy, max([PART_WEIGHTS, *lossy])),
        exact_parts=_parts(kept, EXACT_PART_BYTES),
    )


def _parts(sizes: list[int], capacity: int) -> tuple[int, ...]:
    """About how many tensors each part has."""
    count = min(len(sizes), math.ceil(sum(sizes) / capacity))
    return tuple(len(sizes) * (k + 1) // count - len(sizes) * k // count for k in range(count)) if sizes else ()


def _head(header: Header, sizes: list[int]) -> bytes:
    """What stands before the sections of a file, whatever they are called."""
    return pack_head(header.to_json(), [(f"symbols.{number}", size, bytes(32)) for number, size in enumerate(sizes)])


def _sections(header: Header, coded: Coded, stored: Mapping[str, float], tables: float) -> dict[str, int]:
    """Bytes of each section, the lossy ones in the proportions of the sample's."""
    found: dict[str, float] = {}
    for name, data in coded.sections.items():
        kind, _ = section_kind(name)
        found[kind] = found.get(kind, 0.0) + len(data)
    exact = sum(size for name, size in stored.items() if name in header.exact)
    lossy = sum(size for name, size in stored.items() if name not in header.exact) + tables * len(header.lossy_parts)
    before = sum(size for kind, size in found.items() if kind != _EXACT)
    sections = {kind: round(exact if kind == _EXACT else size * lossy / before) for kind, size in found.items()}
    number = max(1, len(found) - 1) * len(header.lossy_parts) + len(header.exact_parts)
    return {"header": len(_head(header, [0] * number)), **sections}


def _scale(model: Checkpoint, sample: Sample) -> float:
    """How many times as long the whole takes to code as the sample does."""
    whole, part = (
        coding_effort([tensor.numel() for tensor in tensors.values()]) for tensors in (model.tensors, sample.checkpoint.tensors)
    )
    return whole / part if part else 1.0
