"""From a checkpoint to the bytes of a .wz file and back, with any codec.

Checkpoint --split--> lossy tensors --codec-----> Payload --+
                |---> exact tensors --lossless--> Payload --+--> Header + sections --pack--> bytes
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from weightzip.baselines import CODECS as BASELINES
from weightzip.checkpoint import Checkpoint, dtype_name, dtype_of
from weightzip.codec.auto import AutoCodec
from weightzip.codec.auto_v1 import AutoCodecV1
from weightzip.codec.header import LOSSY_DTYPES, Header
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.memory import check_memory, decoding_bytes
from weightzip.codec.paper import PaperCodec
from weightzip.codec.paper_v1 import PaperCodecV1
from weightzip.container import Container, pack, unpack
from weightzip.errors import FormatError, LimitError, WeightzipError
from weightzip.interface import Codec, Decoder, Payload, TensorSpec
from weightzip.progress import Progress, silent

CODECS: dict[str, type[Decoder]] = {
    **{codec.name: codec for codec in (AutoCodec, AutoCodecV1, PaperCodec, PaperCodecV1, LosslessCodec)},
    **BASELINES,
}
_EXACT_SECTION = "exact"
_SMALLEST_DOUBLE = 1e-30  # below it float32 runs out of digits; float32's own subnormal numbers are as good as they are
_BLOCK = 1 << 20  # elements compared at a time, which bounds memory


@dataclass(frozen=True)
class Coded:
    """A coded checkpoint: its header, its sections, and the tensors it restores to, in order.

    notes: what the codec reports about the encoding beyond the file, such as losses by epoch.
    """

    header: Header
    sections: dict[str, bytes]
    restored: dict[str, Tensor]
    notes: dict[str, Any]

    def pack(self) -> bytes:
        """The whole .wz file."""
        return pack(self.header.to_json(), self.sections)


@dataclass(frozen=True)
class Decoded:
    """A decoded .wz file: header, tensors in order, and how many bytes each part of it takes."""

    header: Header
    tensors: dict[str, Tensor]
    section_bytes: dict[str, int]


def encode(checkpoint: Checkpoint, codec: Codec, progress: Progress = silent, *, max_error: float = math.inf) -> Coded:
    """Code a checkpoint, decode it again, and measure what was lost. The checkpoint is left as it is.

    Lossy coding is for finite floating-point weights of the model; everything else is stored bit for bit, and so is a
    tensor that would come back with an error above `max_error` (or overflow in a dtype of small range).
    """
    specs = [TensorSpec(name, tuple(t.shape), dtype_name(t.dtype)) for name, t in checkpoint.tensors.items()]
    lossy = set() if isinstance(codec, LosslessCodec) else lossy_names(checkpoint)
    while True:
        coded = _encode_as(checkpoint, codec, specs, lossy, progress)
        broken = {
            name
            for name in lossy
            if (max_error < math.inf and not _errors({name: checkpoint.tensors[name]}, coded.restored)[1] <= max_error)
            or not bool(torch.isfinite(coded.restored[name]).all())
        }
        if not broken:
            return coded
        lossy -= broken  # the others are coded anew, as settings may depend on all of them


def lossy_names(checkpoint: Checkpoint) -> set[str]:
    """The tensors that a lossy codec may touch: the model's own, floating-point, finite, and in float32's range."""
    return {
        name
        for name, tensor in checkpoint.tensors.items()
        if name in checkpoint.weights and tensor.dtype in LOSSY_DTYPES and _in_range(tensor)
    }


def _in_range(tensor: Tensor) -> bool:
    """Whether float32, which lossy codecs compute with, holds a tensor: finite, and its largest value to all its digits."""
    single = tensor.float()
    if not bool(torch.isfinite(single).all()):
        return False
    return tensor.dtype != torch.float64 or not tensor.any() or float(single.abs().max()) > _SMALLEST_DOUBLE


def decode(data: bytes, name: str = "the file", *, memory: int | None = None) -> Decoded:
    """Check and decode a .wz file; `name` is what error messages call it.

    memory: bytes that decoding may allocate (see `check_memory`); by default as many as the machine has.
    Raises FormatError, DamagedFileError or LimitError.
    """
    container = unpack(data, name)
    return decode_container(container, read_header(container, name), name, memory=memory)


def decode_container(container: Container, header: Header, name: str, *, memory: int | None = None) -> Decoded:
    """`decode` for a file that has been unpacked, with its parsed header."""
    try:
        check_memory(header.tensor_bytes, memory, working=decoding_bytes(header))
        return Decoded(header, _decode_tensors(header, container.sections), container.section_bytes)
    except WeightzipError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError as error:
        raise LimitError(f"{name}: takes more memory to decode than this machine has") from error


def read_header(container: Container, name: str) -> Header:
    """The parsed header of an unpacked file; errors say which file they are about."""
    try:
        header = Header.from_json(container.header)
    except WeightzipError as error:
        raise type(error)(f"{name}: {error}") from error
    if header.codec not in CODECS:
        raise LimitError(f"{name}: made by the codec {header.codec!r}, which this version lacks; update weightzip")
    return header


def _encode_as(checkpoint: Checkpoint, codec: Codec, specs: Sequence[TensorSpec], lossy: set[str], progress: Progress) -> Coded:
    exact = frozenset(spec.name for spec in specs if spec.name not in lossy)
    weights = {name: tensor.float() for name, tensor in checkpoint.tensors.items() if name in lossy}
    payload = codec.encode(weights, progress) if weights else Payload({})
    exact_payload = LosslessCodec().encode({name: t for name, t in checkpoint.tensors.items() if name in exact})
    header = Header(
        codec=codec.name if weights else LosslessCodec.name,
        meta=payload.meta,
        tensors=tuple(specs),
        exact=exact,
        layout=checkpoint.layout,
        relative_mse=0.0,
        max_abs_error=0.0,
        latents=payload.latents,
    )
    sections = {**payload.sections, **exact_payload.sections}
    restored = _decode_tensors(header, sections)
    mse, largest = _errors(checkpoint.tensors, restored)
    return Coded(replace(header, relative_mse=mse, max_abs_error=largest), sections, restored, payload.notes)


def _decode_tensors(header: Header, sections: Mapping[str, bytes]) -> dict[str, Tensor]:
    exact_specs = [spec for spec in header.tensors if spec.name in header.exact]
    lossy_specs = [spec for spec in header.tensors if spec.name not in header.exact]
    exact_sections = {name: data for name, data in sections.items() if name == _EXACT_SECTION}
    lossy_sections = {name: data for name, data in sections.items() if name != _EXACT_SECTION}
    if lossy_specs and header.codec == LosslessCodec.name:
        raise FormatError("a tensor is marked as lossy in a lossless file")
    tensors = LosslessCodec.decode(Payload(exact_sections), exact_specs)
    if lossy_specs:
        tensors |= CODECS[header.codec].decode(Payload(lossy_sections, header.meta), lossy_specs)
    elif lossy_sections:
        raise FormatError("the file has sections that belong to no tensor")
    return {spec.name: tensors[spec.name].to(dtype_of(spec.dtype)) for spec in header.tensors}


def _errors(source: Mapping[str, Tensor], restored: Mapping[str, Tensor]) -> tuple[float, float]:
    """(relative mean square error, largest absolute error) over floating-point tensors; places not finite are exact."""
    error = energy = largest = 0.0
    for name, tensor in source.items():
        if not tensor.dtype.is_floating_point or tensor.dtype == torch.float4_e2m1fn_x2 or not tensor.numel():
            continue
        originals, decoded = tensor.reshape(-1), restored[name].reshape(-1)
        for start in range(0, tensor.numel(), _BLOCK):
            exact = originals[start : start + _BLOCK].double()
            difference = torch.nan_to_num(exact - decoded[start : start + _BLOCK].double(), nan=0.0)
            error += float(difference.square().sum())
            energy += float(torch.nan_to_num(exact, nan=0.0, posinf=0.0, neginf=0.0).square().sum())
            largest = max(largest, float(difference.abs().max()))
    return (error / energy if energy else 0.0), largest
