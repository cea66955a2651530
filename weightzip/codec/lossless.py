"""Exact storage for any dtype: elements cut into planes of bits that are alike, each plane coded as suits it.

All integers are little-endian, and so are the elements of tensors.

    section = 32 bytes SHA-256 of all tensors' bytes, one tensor after the other in order; blocks

The tensors are grouped by dtype; groups stand in the order of their first tensors. A group's elements are one sequence: first
the tensors of fewer than 32 KiB, then the others, each part in the order of the tensors; tensors without elements have no
part in it. A complex number is two elements, each of half its width. Each group has blocks until its sequence is at its end,
which no block may pass. Without any element there is no section.

    block = 4 bytes number of elements n (1 to 2^20), 4 bytes size of the body, 1 byte mode, body

    mode 0, stored      the n elements
    mode 1, zstandard   one frame that says its size, of the n elements
    mode 2, planes      the planes of the n elements, see `element_planes` and `plane_coding`
    mode 3, sparse      4 bytes number m of elements that are not 0 (1 to n - 1), where neither +0 nor -0 counts; flags of the n
                        elements: not 0; flags of the n - m others: -0 instead of +0; planes of the m elements
    f flags             a plane of ceil(f / 8) values of 8 bits: bit i mod 8 of value floor(i / 8) is flag i

Planes: an element of w bits is a number v of w bits. In floating-point dtypes of 16 bits and more, and in complex ones, it is
rotated first, so that the sign comes last: v = (2 v mod 2^w) + floor(v / 2^(w-1)). Then v is cut, from its highest bits on:

    float16, complex32          8 bits (all of the exponent), 8 bits
    bfloat16                    10 bits (exponent and the mantissa's first two), 6 bits
    float32, complex64          10, 6, 8, 8 bits
    float64, complex128         12, 4, 8, 8, 8, 8, 8, 8 bits
    all others                  8 bits as often as needed

Where a block ends and how its planes are coded is the encoder's choice; this one has blocks of about 512 KiB, none across the
border of a tensor of 32 KiB or more.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.checkpoint import dtype_name, dtype_of, num_bytes
from weightzip.codec.element_blocks import BLOCK_BYTES, MOST_ELEMENTS, decode_block, encode_block
from weightzip.codec.element_planes import Elements, Layout, layout_of
from weightzip.errors import DamagedFileError, FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent
from weightzip.threads import side_by_side

_DIGEST_BYTES = 32
_HEADER_BYTES = 9
_SMALL = 32 << 10  # bytes below which tensors share blocks


class LosslessCodec:
    """Gives every tensor back bit for bit, whatever its dtype. Section: "exact", none where there is nothing to store."""

    name: ClassVar[str] = "lossless.2"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code contiguous CPU tensors of any dtype. Blocks are coded side by side, see `weightzip.threads`."""
        flat = [_bytes(tensor) for tensor in tensors.values()]
        groups = _grouped([(dtype_name(tensor.dtype), tensor.numel()) for tensor in tensors.values()])
        if not groups:
            return Payload({})
        tasks: list[Callable[[], bytes]] = [lambda: _digest(flat)]
        for group in groups:
            parts = [flat[tensor].view(group.layout.unsigned) for tensor in group.tensors]
            tasks += [_Encoding(group, parts, start, stop) for start, stop in group.blocks()]
        return Payload({"exact": b"".join(side_by_side(_run, tasks))})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, bit for bit.

        Raises FormatError where the data do not fill them exactly (before they are allocated, if sizes alone tell), and
        DamagedFileError where they have another digest.
        """
        data = np.frombuffer(payload.sections.get("exact", b""), np.uint8)
        groups = _grouped([(spec.dtype, spec.num_elements) for spec in specs])
        blocks = _blocks(data, groups)
        flat = [np.empty(num_bytes(spec), np.uint8) for spec in specs]
        tasks = []
        for group, of_group in zip(groups, blocks, strict=True):
            parts = [flat[tensor].view(group.layout.unsigned) for tensor in group.tensors]
            tasks += [_Decoding(group, parts, *block) for block in of_group]
        side_by_side(_run, tasks)
        if groups and _digest(flat) != data[:_DIGEST_BYTES].tobytes():
            raise DamagedFileError("exact tensors are not those that were stored; get the file again")
        return {spec.name: _tensor(data, spec) for data, spec in zip(flat, specs, strict=True)}


def stored_bytes(data: bytes, specs: Sequence[TensorSpec]) -> list[float]:
    """Bytes of a section that each of its tensors takes: those of its blocks.

    A block that small tensors share counts for each as much as it has of the block's elements: what is coded together cannot
    be told apart. The digest is nobody's. Raises FormatError where the data do not fit the tensors.
    """
    groups = _grouped([(spec.dtype, spec.num_elements) for spec in specs])
    shares = [0.0] * len(specs)
    for group, blocks in zip(groups, _blocks(np.frombuffer(data, np.uint8), groups), strict=True):
        for start, stop, _, body in blocks:
            for k, where in group.pieces(start, stop):
                part = (where.stop - where.start) / (stop - start)
                shares[group.tensors[k]] += part * (_HEADER_BYTES + body.size)
    return shares


@dataclass(frozen=True)
class _Group:
    """Tensors of one dtype as one sequence of elements.

    tensors: which tensors, by position, in the order of the sequence.
    ends: where each of them ends, in elements; int64 [len(tensors)].
    """

    layout: Layout
    tensors: list[int]
    ends: NDArray[np.int64]

    @property
    def num_elements(self) -> int:
        return int(self.ends[-1])

    def blocks(self) -> list[tuple[int, int]]:
        """Where blocks begin and end, as the encoder has them."""
        most = BLOCK_BYTES // self.layout.width
        cuts = [0]
        before = 0
        for end in self.ends.tolist():
            if (end - before) * self.layout.width >= _SMALL:
                num_blocks = -(-(end - before) // most)
                step = -(-(end - before) // num_blocks + 7) // 8 * 8  # whole lots of the entropy coder
                cuts += [*range(before, end, step)]
            elif before - cuts[-1] >= most:
                cuts.append(before)
            before = end
        borders = sorted({*cuts, self.num_elements})
        return list(itertools.pairwise(borders))

    def pieces(self, start: int, stop: int) -> list[tuple[int, slice]]:
        """Elements [start, stop) of the sequence: of which of `tensors`, and where in it."""
        first, last = np.searchsorted(self.ends, [start, stop - 1], side="right").tolist()
        found = []
        for k in range(first, last + 1):
            begin = int(self.ends[k - 1]) if k else 0
            found.append((k, slice(max(start - begin, 0), min(stop, int(self.ends[k])) - begin)))
        return found


@dataclass(frozen=True)
class _Encoding:
    """The coding of elements [start, stop) of a group."""

    group: _Group
    parts: list[Elements]
    start: int
    stop: int

    def __call__(self) -> bytes:
        pieces = [self.parts[k][where] for k, where in self.group.pieces(self.start, self.stop)]
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        # A checkpoint that is mapped into memory may be neither writable nor aligned; kernels are compiled for what is both.
        mode, body = encode_block(np.require(joined, requirements=["A", "W"]), self.group.layout)
        return (self.stop - self.start).to_bytes(4, "little") + len(body).to_bytes(4, "little") + bytes([mode]) + body


@dataclass(frozen=True)
class _Decoding:
    """The decoding of elements [start, stop) of a group, into tensors."""

    group: _Group
    parts: list[Elements]
    start: int
    stop: int
    mode: int
    body: NDArray[np.uint8]

    def __call__(self) -> bytes:
        pieces = [self.parts[k][where] for k, where in self.group.pieces(self.start, self.stop)]
        whole = pieces[0] if len(pieces) == 1 else np.empty(self.stop - self.start, self.group.layout.unsigned)
        decode_block(self.mode, self.body, self.group.layout, whole)
        if len(pieces) > 1:
            for piece, elements in zip(pieces, np.split(whole, np.cumsum([len(piece) for piece in pieces])[:-1]), strict=True):
                piece[:] = elements
        return b""


def _run(task: Callable[[], bytes]) -> bytes:
    return task()


def _grouped(kinds: Sequence[tuple[str, int]]) -> list[_Group]:
    """The groups of tensors of these dtypes and numbers of elements."""
    members: dict[str, list[tuple[int, int]]] = {}
    for tensor, (dtype, num_elements) in enumerate(kinds):
        per_element = 2 if dtype_of(dtype).is_complex else 1
        if num_elements:
            members.setdefault(dtype, []).append((tensor, num_elements * per_element))
    groups = []
    for dtype, found in members.items():
        layout = layout_of(dtype)
        found.sort(key=lambda member: member[1] * layout.width >= _SMALL)
        if sum(size for _, size in found) >> 62:
            raise FormatError("exact tensors are larger than any memory")
        groups.append(_Group(layout, [tensor for tensor, _ in found], np.cumsum([size for _, size in found], dtype=np.int64)))
    return groups


def _blocks(data: NDArray[np.uint8], groups: list[_Group]) -> list[list[tuple[int, int, int, NDArray[np.uint8]]]]:
    """(start, stop, mode, body) of the blocks of each group. Raises FormatError where they do not fit."""
    if not groups and data.size:
        raise FormatError("there are exact data, but no tensors for them")
    if groups and data.size < _DIGEST_BYTES:
        raise FormatError("exact tensors are missing or cut short")
    at = _DIGEST_BYTES if groups else 0
    blocks = []
    for group in groups:
        found = []
        start = 0
        while start < group.num_elements:
            header = data[at : at + _HEADER_BYTES].tobytes()
            num_elements, size = int.from_bytes(header[:4], "little"), int.from_bytes(header[4:8], "little")
            body = data[at + _HEADER_BYTES : at + _HEADER_BYTES + size]
            if len(header) < _HEADER_BYTES or body.size < size:
                raise FormatError("exact tensors are cut short")
            if not 1 <= num_elements <= min(MOST_ELEMENTS, group.num_elements - start):
                raise FormatError(f"a block of exact tensors has {num_elements:,} elements, which do not fit them")
            found.append((start, start + num_elements, header[8], body))
            start += num_elements
            at += _HEADER_BYTES + size
        blocks.append(found)
    if at != data.size:
        raise FormatError(f"{data.size - at:,} bytes follow the exact tensors")
    return blocks


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor, not copied where it is contiguous."""
    flat = tensor.reshape(-1)
    data: NDArray[np.uint8] = flat.view(torch.uint8).numpy() if flat.numel() else np.zeros(0, np.uint8)
    return data


def _tensor(data: NDArray[np.uint8], spec: TensorSpec) -> Tensor:
    """The tensor of these bytes, not copied."""
    dtype = dtype_of(spec.dtype)
    return torch.from_numpy(data).view(dtype).reshape(spec.shape) if data.size else torch.empty(spec.shape, dtype=dtype)


def _digest(flat: list[NDArray[np.uint8]]) -> bytes:
    digest = hashlib.sha256()
    for data in flat:
        digest.update(data.data)
    return digest.digest()
