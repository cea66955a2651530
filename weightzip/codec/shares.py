"""How many bytes of a .wz file belong to each tensor, known without decoding more than what little tensors share.

A part with one tensor is that tensor's, exactly. Where a part holds several,

    a stream of one tensor          is that tensor's, exactly
    a stream of several             is shared out by the ideal code length of their symbols under the file's own tables;
                                    those from the first large one on go by their number of latents
    codes of scales                 by how many of them are a tensor's
    learned transforms              by how many of their numbers serve a tensor; where tensors share one, equally
    steps                           equally: there is one for each tensor
    latents of the paper's codec    by their code length, that of a chunk by the weights that each tensor has in it
    residuals by class              by the number of weights: only a decoded network tells which are whose
    exact tensors                   by blocks, see `lossless.stored_bytes`
    all else                        (older versions, baselines) by the bytes that tensors restore to

What tensors share belongs to none: header, hashes, tables, the decoder of a VAE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weightzip.checkpoint import num_bytes
from weightzip.codec.auto import AutoCodec, Unpacked
from weightzip.codec.decoding import EXACT, EXACT_CODECS, naming, part_sections
from weightzip.codec.family import FamilyCodec
from weightzip.codec.family_header import FamilyHeader, decoder_outline
from weightzip.codec.header import Header, Part
from weightzip.codec.layers import split
from weightzip.codec.lossless import LosslessCodec, stored_bytes
from weightzip.codec.paper import PaperCodec
from weightzip.codec.paper_header import PaperHeader
from weightzip.codec.paper_quantise import MACHINE
from weightzip.codec.residuals import Arrangement
from weightzip.codec.symbols import CodedSymbols, PointStreams
from weightzip.codec.transforms import LEARNED, Transforms
from weightzip.container import Container
from weightzip.entropy.machine import SCALAR
from weightzip.errors import FormatError, LimitError
from weightzip.interface import Payload, TensorSpec
from weightzip.quantise.axes import Shape
from weightzip.vae.reflections import column_sizes

_DECODER = "decoder"
_MOST_POINTS, _MOST_AT_END = 1 << 17, 1 << 21  # of a stream, and of the last one, whose little tensors follow a large one
_FEW_WEIGHTS, _WEIGHTS_PER_BYTE = 1 << 24, 1 << 9  # more weights in fewer bytes are not looked at: no codec does as well
Bytes = NDArray[np.float64]  # of each tensor of a part


def tensor_bytes(container: Container, header: Header, name: str) -> dict[str, float]:
    """Bytes that belong to each tensor, in the header's order; what the file takes beyond their sum is shared by all.

    name: what errors call the file. Parts whose content makes no sense go by size; that is for `test` to find.
    Raises DamagedFileError.
    """
    found: dict[str, float] = {}
    with naming(name):
        for part, sections in part_sections(container, header):
            sizes = {kind: container.section_bytes[stored] for kind, stored in sections.items()}
            shares = _shares(container, header, part, sections, sizes)
            found |= {spec.name: float(share) for spec, share in zip(part.specs, shares, strict=True)}
    return {spec.name: found[spec.name] for spec in header.tensors}


def _shares(container: Container, header: Header, part: Part, sections: Mapping[str, str], sizes: Mapping[str, int]) -> Bytes:
    """What each tensor of a part has of its sections."""
    total, num_weights = sum(sizes.values()), sum(spec.num_elements for spec in part.specs)
    if len(part.specs) == 1:
        return np.array([total], np.float64)
    if num_weights > max(_FEW_WEIGHTS, _WEIGHTS_PER_BYTE * total):
        return _by_size(part.specs, sizes)
    look = _LOOKS.get(EXACT_CODECS[header.version].name if part.exact else header.codec)
    if look is None:
        return _by_size(part.specs, sizes)
    data = {kind: container.sections[stored] for kind, stored in sections.items()}
    try:
        return look(Payload(data, header.meta), part.specs)
    except (FormatError, LimitError):
        return _by_size(part.specs, sizes)


def _by_size(specs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> Bytes:
    own = sum(size for kind, size in sizes.items() if kind != _DECODER)
    return _apportioned(own, [num_bytes(spec) for spec in specs])


def _exact(payload: Payload, specs: Sequence[TensorSpec]) -> Bytes:
    return np.array(stored_bytes(payload.sections.get(EXACT, b""), specs))


def _auto(payload: Payload, specs: Sequence[TensorSpec]) -> Bytes:
    unpacked = Unpacked.of(payload, specs)
    steps, transforms = (len(payload.sections.get(kind, b"")) for kind in ("steps", "transforms"))
    bases = _apportioned(transforms, _basis_numbers(unpacked.transforms))
    return bases + _equally(steps, len(specs)) + _arrays(unpacked.streams)


def _basis_numbers(transforms: Transforms) -> list[float]:
    """How many numbers of learned transforms serve each tensor."""
    used = [[number - LEARNED for number in choice.along if number >= LEARNED] for choice in transforms.choices]
    users = np.bincount([number for numbers in used for number in numbers], minlength=len(transforms.decoders))
    sizes = [int(column_sizes(decoder.length, decoder.rank).sum()) for decoder in transforms.decoders]
    return [sum(sizes[number] / users[number] for number in numbers) for numbers in used]


def _paper(payload: Payload, specs: Sequence[TensorSpec]) -> Bytes:
    header = PaperHeader.parse(payload.meta)
    sizes = [spec.num_elements for spec in specs]
    shape = (header.num_chunks(sum(sizes)), 1, header.latent)
    return _of_chunks(payload.sections.get("latents", b""), shape, header.chunk, sizes)


def _family(payload: Payload, specs: Sequence[TensorSpec]) -> Bytes:
    header = FamilyHeader.parse(payload.meta)
    sizes = [spec.num_elements for spec in specs]
    num_chunks = header.num_chunks(sum(sizes), len(specs))
    steps, latents, residuals = (payload.sections.get(kind, b"") for kind in ("steps", "latents", "residuals"))
    found = _equally(len(steps), len(specs))
    if latents:
        _, coded = split(latents, 2)
        found += _of_chunks(coded, (num_chunks, 1, decoder_outline(header).num_latents), header.chunk, sizes)
    if header.layout != "tensors":
        return found + _apportioned(len(residuals), sizes)
    shapes: list[Shape] = Arrangement.of("tensors", specs).shapes
    model, streams = split(residuals, 2)
    machine = MACHINE if latents else SCALAR
    found[np.array(sizes) > 0] += _arrays(PointStreams(CodedSymbols(model, streams), shapes, machine))
    return found


def _arrays(streams: PointStreams) -> Bytes:
    """What each array has of its model and its stream."""
    sizes = np.array([math.prod(scales.shape) for scales in streams.scales], np.int64)
    found = _apportioned(streams.code_bytes, streams.num_codes)
    for group, stored in zip(streams.groups, streams.stream_bytes, strict=True):
        own = slice(group.start, group.stop)
        found[own] += _apportioned(stored, _bits(streams, group, stored, sizes[own]))
    return found


def _bits(streams: PointStreams, group: range, stored: int, sizes: NDArray[np.int64]) -> Bytes:
    """About how many bits of a stream each array takes: the first ones by a look at them, what they leave by size."""
    if len(group) == 1:
        return np.ones(1)
    most = _MOST_AT_END if group.stop == len(streams.scales) else _MOST_POINTS
    count = int(np.searchsorted(np.cumsum(sizes), most, side="right"))
    bits = _sums(streams.ideal_bits(group, count), sizes[:count])
    left = max(8 * stored - float(bits.sum()), 0.0)
    return np.concatenate([bits, _apportioned(left, sizes[count:])])


def _of_chunks(data: bytes, shape: Shape, chunk: int, sizes: Sequence[int]) -> Bytes:
    """What tensors of these sizes have of the latents of their chunks."""
    model, coded = split(data, 2)
    streams = PointStreams(CodedSymbols(model, coded), [shape], MACHINE)
    num_chunks, _, width = shape
    if num_chunks * width > _FEW_WEIGHTS:
        return _apportioned(len(coded), sizes)
    bits = streams.ideal_bits(streams.groups[0], 1).reshape(num_chunks, width).sum(axis=1, dtype=np.float64)
    borders = np.minimum(np.arange(num_chunks + 1) * chunk, sum(sizes))
    before = np.interp(np.cumsum([0, *sizes]), borders, np.cumsum([0, *bits]))  # bits of all weights before each border
    return _apportioned(len(coded), np.diff(before))


def _sums(values: NDArray[np.float32], sizes: NDArray[np.int64]) -> Bytes:
    """Of values that lie one after the other, so many for each."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.diff(sums[np.concatenate([[0], np.cumsum(sizes)])])


def _equally(total: float, count: int) -> Bytes:
    return _apportioned(total, np.ones(count))


def _apportioned(total: float, weights: Sequence[float] | NDArray[np.floating] | NDArray[np.int64]) -> Bytes:
    """A total in proportion to weights; where all are zero, nobody's."""
    parts = np.asarray(weights, np.float64)
    whole = parts.sum()
    return total * parts / whole if whole > 0 else np.zeros(len(parts))


_LOOKS: dict[str, Callable[[Payload, Sequence[TensorSpec]], Bytes]] = {
    LosslessCodec.name: _exact,
    AutoCodec.name: _auto,
    PaperCodec.name: _paper,
    FamilyCodec.name: _family,
}
