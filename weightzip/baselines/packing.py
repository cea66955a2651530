"""Bytes and small integers made smaller: zstandard where it helps, varints, indices of b bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import zstandard
from numpy.typing import NDArray

from weightzip.errors import FormatError

LEVEL = 19  # zstandard's highest level without a larger window: what a practitioner ships
_ENTROPY_LEVEL = 1  # finds few matches and so codes by Huffman alone, which is shorter on noise-like data
_STORED, _ZSTD = b"\0", b"\1"
_CHUNK = 1 << 20  # indices packed at once; a multiple of 8, so that chunks end on whole bytes


def pack(data: bytes, levels: Sequence[int] = (LEVEL, _ENTROPY_LEVEL)) -> bytes:
    """One flag byte, then `data` itself or the shortest of its zstandard frames at `levels`, whichever is shorter."""
    frame = min((zstandard.compress(data, level) for level in levels), key=len)
    return _ZSTD + frame if len(frame) < len(data) else _STORED + data


def unpack(packed: bytes, section: str, at_most: int) -> bytes:
    """Undo `pack`. Raises FormatError if the bytes are no such thing or would unpack to more than `at_most` bytes.

    The size that the frame declares is read first: zstandard itself allocates whatever a frame declares.
    """
    flag, body = packed[:1], packed[1:]
    if flag == _STORED:
        if len(body) > at_most:
            raise FormatError(f"section {section}: holds {len(body):,} bytes, but its tensors need at most {at_most:,}")
        return body
    if flag != _ZSTD:
        raise FormatError(f"section {section}: unknown packing {flag.hex() or '(empty)'}; the file is damaged")
    try:
        declared = zstandard.frame_content_size(body)
        if not 0 <= declared <= at_most:  # -1: not declared
            raise FormatError(f"section {section}: declares {declared:,} bytes, its tensors need at most {at_most:,}")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=declared, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"section {section}: not a valid zstandard frame ({error}); the file is damaged") from error


def packed_block(candidates: Iterable[bytes]) -> bytes:
    """The candidate that packs smallest, packed by itself and preceded by its length."""
    return block_bytes(min(map(pack, candidates), key=len))


def varint(value: int) -> bytes:
    """A non-negative integer in LEB128: seven bits a byte, lowest first, the top bit set on all but the last.

    >>> varint(300).hex()
    'ac02'
    """
    digits = bytearray()
    while value >= 128:
        digits.append(value % 128 + 128)
        value //= 128
    digits.append(value)
    return bytes(digits)


def block_bytes(data: bytes) -> bytes:
    """The number of bytes, then they."""
    return varint(len(data)) + data


def pack_bits(indices: NDArray[np.uint8], bits: int) -> bytes:
    """Indices below 2**bits in ceil(len * bits / 8) bytes, lowest bit first.

    >>> pack_bits(np.array([1, 2, 3], np.uint8), 4).hex()
    '2103'
    """
    chunks = (indices[start : start + _CHUNK, None] for start in range(0, len(indices), _CHUNK))
    planes = (np.unpackbits(chunk, axis=1, count=bits, bitorder="little") for chunk in chunks)  # [chunk, bits]
    return b"".join(np.packbits(plane, bitorder="little").tobytes() for plane in planes)


def unpack_bits(packed: bytes, count: int, bits: int) -> NDArray[np.uint8]:
    """Undo `pack_bits`: `count` indices from exactly ceil(count * bits / 8) bytes."""
    data = np.frombuffer(packed, np.uint8)
    indices = np.empty(count, np.uint8)
    for start in range(0, count, _CHUNK):
        chunk = indices[start : start + _CHUNK]
        source = data[start * bits // 8 :]
        planes = np.unpackbits(source, count=len(chunk) * bits, bitorder="little").reshape(-1, bits)  # [chunk, bits]
        chunk[:] = np.packbits(planes, axis=1, bitorder="little")[:, 0]
    return indices


def index_bytes(indices: NDArray[np.uint8], bits: int) -> bytes:
    """A packed block: a width byte, then the indices at `bits` or at 8 bits each, whichever packs smaller.

    Whole bytes are longer, but zstandard sees the symbols and codes frequent ones (by Huffman) in fewer bits.
    """
    return packed_block(bytes([width]) + pack_bits(indices, width) for width in sorted({bits, 8}))
