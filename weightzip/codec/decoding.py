"""From a .wz file back to tensors: all of them, part by part, or only those that are asked for.

Container --parse--> Header: parts, each a run of tensors with sections of its own --decode--> tensors
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from weightzip.baselines import CODECS as BASELINES
from weightzip.checkpoint import dtype_of
from weightzip.codec.auto import AutoCodec
from weightzip.codec.auto_v1 import AutoCodecV1
from weightzip.codec.family import FamilyCodec
from weightzip.codec.header import Header, Part, section_kind
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.lossless_v1 import LosslessCodecV1
from weightzip.codec.memory import check_kept
from weightzip.codec.paper import PaperCodec
from weightzip.codec.paper_v1 import PaperCodecV1
from weightzip.container import Container, unpack
from weightzip.errors import FormatError, LimitError, WeightzipError, is_out_of_memory
from weightzip.interface import JSON, Decoder, Payload

CODECS: dict[str, type[Decoder]] = {
    **{codec.name: codec for codec in (AutoCodec, PaperCodec, FamilyCodec, LosslessCodec)},
    **{codec.name: codec for codec in (AutoCodecV1, PaperCodecV1, LosslessCodecV1)},
    **BASELINES,
}
EXACT_CODECS: dict[int, type[Decoder]] = {1: LosslessCodecV1, 2: LosslessCodec}  # by version of the format
EXACT = "exact"
_MAX_MESSAGE = 400  # characters: a message may quote what a file says, and that may be of any length


@dataclass(frozen=True)
class Decoded:
    """A decoded .wz file: header, tensors in order, and how many bytes each part of it takes."""

    header: Header
    tensors: dict[str, Tensor]
    section_bytes: dict[str, int]


def decode(data: bytes, name: str = "the file", *, memory: int | None = None) -> Decoded:
    """Check and decode a .wz file in memory; `name` is what error messages call it.

    memory: bytes that decoding may allocate (see `weightzip.codec.memory`); by default as many as the machine has.
    Raises FormatError, DamagedFileError or LimitError.
    """
    container = unpack(data, name)
    return decode_container(container, read_header(container, name), name, memory=memory)


def decode_container(container: Container, header: Header, name: str, *, memory: int | None = None) -> Decoded:
    """`decode` for a file that is open, with its parsed header."""
    with naming(name):
        check_kept(header, part_sizes(container, header), memory)
        tensors = dict(decode_parts(container, header))
        in_order = {spec.name: tensors[spec.name] for spec in header.tensors}
        return Decoded(header, in_order, container.section_bytes)


def read_header(container: Container, name: str) -> Header:
    """The parsed header of an open file; errors say which file they are about."""
    with naming(name):
        header = Header.from_json(container.header, container.version)
        if header.codec not in CODECS:
            raise LimitError(f"made by the codec {header.codec!r}, which this version lacks; update weightzip")
        if header.lossy_parts and issubclass(CODECS[header.codec], (LosslessCodec, LosslessCodecV1)):
            raise FormatError("a tensor is marked as lossy in a lossless file")
        _sections(container, header)
        return header


def part_sizes(container: Container, header: Header) -> dict[tuple[bool, int], int]:
    """Bytes that the sections of each part (exact or not, number) take."""
    sections = _sections(container, header)
    return {part: sum(container.section_bytes[name] for name in names.values()) for part, names in sections.items()}


def part_sections(container: Container, header: Header) -> Iterator[tuple[Part, dict[str, str]]]:
    """Each part with its sections: kind -> name in the file."""
    sections = _sections(container, header)
    return ((part, sections[part.exact, part.number]) for part in header.parts)


def decode_parts(container: Container, header: Header, wanted: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, one part of the file after the other, in no particular order; of `wanted` ones, only these.

    The caller has checked that there is memory for them. Raises FormatError, DamagedFileError or LimitError.
    """
    for part, sections in part_sections(container, header):
        names = {spec.name for spec in part.specs if wanted is None or spec.name in wanted}
        if not names:
            continue
        data = {kind: container.sections[name] for kind, name in sections.items()}
        codec = EXACT_CODECS[header.version].name if part.exact else header.codec
        tensors = decode_part(codec, header.meta, part, data, names)
        del data  # which can be as large as what it decodes to
        for spec in part.specs:
            if spec.name in names:
                yield spec.name, tensors.pop(spec.name).to(dtype_of(spec.dtype))  # and let go of


def decode_part(
    codec: str, meta: Mapping[str, JSON], part: Part, sections: Mapping[str, bytes], names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """The tensors of one part, as its codec gives them; of `names`, at least these. sections: by kind."""
    payload = Payload(dict(sections), {} if part.exact else dict(meta))
    if codec == AutoCodec.name:
        return AutoCodec.decode(payload, part.specs, names)
    return CODECS[codec].decode(payload, part.specs)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Say which file an error within the block is about."""
    try:
        yield
    except WeightzipError as error:
        if error.named:
            raise
        told = str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}"
        most = len(name) + _MAX_MESSAGE
        named = type(error)(told if len(told) <= most else f"{told[:most]}...")
        named.named = True
        raise named from error
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise LimitError(f"{name}: takes more memory to decode than this machine has") from error


def _sections(container: Container, header: Header) -> dict[tuple[bool, int], dict[str, str]]:
    """For each part (exact or not, number) its sections: kind -> name in the file. Raises FormatError for others."""
    sections: dict[tuple[bool, int], dict[str, str]] = {(part.exact, part.number): {} for part in header.parts}
    for name in container.sections:
        kind, number = section_kind(name) if header.version > 1 else (name, 0)
        part = sections.get((kind == EXACT, number))
        if part is None:
            raise FormatError(f"the section {name!r} belongs to no tensor")
        if kind in part:
            raise FormatError(f"there are two sections {kind!r} of one part")
        part[kind] = name
    return sections
