"""One block of elements of one dtype as bytes, in whichever of four modes is the smallest, and back; see `lossless`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.codec.element_planes import Elements, Layout, cut, join
from weightzip.codec.plane_coding import compress_if_promising, decode_plane, encode_plane, unpack_frame
from weightzip.entropy.rans import count
from weightzip.errors import FormatError

BLOCK_BYTES = 512 << 10  # about; so that a block with its planes stays in a core's own cache
MOST_ELEMENTS = 1 << 20
_STORED, _ZSTD, _PLANES, _SPARSE = range(4)
_MANY_ZEROS = 1 / 32  # of the elements; from which it pays to leave them out


def encode_block(elements: Elements, layout: Layout) -> tuple[int, bytes]:
    """(mode, body) of elements [n], n > 0, which are writable and aligned, and not changed."""
    mode, body = _in_planes(elements, layout)
    if layout.width > 1:
        frame = compress_if_promising(elements.view(np.uint8), len(body))
        if frame is not None:
            mode, body = _ZSTD, frame
    return (mode, body) if len(body) < elements.nbytes else (_STORED, elements.tobytes())


def decode_block(mode: int, body: NDArray[np.uint8], layout: Layout, elements: Elements) -> None:
    """Fill elements [n] from what `encode_block` made of them. Raises FormatError where it does not fit."""
    if mode == _STORED:
        if body.size != elements.nbytes:
            raise FormatError(f"a block has {body.size:,} bytes instead of {elements.nbytes:,}")
        elements.view(np.uint8)[:] = body
    elif mode == _ZSTD:
        elements.view(np.uint8)[:] = unpack_frame(body, elements.nbytes)
    elif mode == _PLANES:
        _from_planes(body, 0, layout, elements)
    elif mode == _SPARSE:
        _from_sparse(body, layout, elements)
    else:
        raise FormatError(f"a block of exact tensors has mode {mode}, which this version does not know")


def _in_planes(elements: Elements, layout: Layout) -> tuple[int, bytes]:
    planes = cut(elements, layout)
    counts = [count(plane, 1 << bits) for plane, bits in zip(planes, layout.bits, strict=True)]
    if layout.is_float and _MANY_ZEROS * elements.size <= counts[0][0] < elements.size:
        is_some = elements << 1 != 0
        if np.count_nonzero(is_some) < (1 - _MANY_ZEROS) * elements.size:
            return _SPARSE, _in_sparse(elements, is_some, layout)
    # Where numbers recur as a whole, that is found in the block, undivided; of single planes only exponents are likely to.
    last = 0 if layout.is_float else len(planes) - 1
    coded = [encode_plane(*plane, may_recur=k <= last) for k, plane in enumerate(zip(planes, layout.bits, counts, strict=True))]
    return _PLANES, b"".join(coded)


def _in_sparse(elements: Elements, is_some: NDArray[np.bool_], layout: Layout) -> bytes:
    some = elements[is_some]
    negative_zeros = elements[~is_some] != 0
    return some.size.to_bytes(4, "little") + _coded_flags(is_some) + _coded_flags(negative_zeros) + _in_planes(some, layout)[1]


def _coded_flags(flags: NDArray[np.bool_]) -> bytes:
    plane = np.packbits(flags, bitorder="little")
    return encode_plane(plane, 8, count(plane, 256))


def _from_planes(body: NDArray[np.uint8], at: int, layout: Layout, elements: Elements) -> None:
    planes = []
    for bits in layout.bits:
        plane, at = decode_plane(body, at, elements.size, bits)
        planes.append(plane)
    if at != body.size:
        raise FormatError(f"{body.size - at:,} bytes follow the planes of a block")
    join(planes, layout, elements)


def _from_sparse(body: NDArray[np.uint8], layout: Layout, elements: Elements) -> None:
    num_some = int.from_bytes(body[:4].tobytes(), "little")
    is_some, at = _decoded_flags(body, 4, elements.size)
    if not 1 <= num_some == np.count_nonzero(is_some) < elements.size:
        raise FormatError("a block does not have as many elements as it announces")
    negative_zeros, at = _decoded_flags(body, at, elements.size - num_some)
    some = np.empty(num_some, elements.dtype)
    _from_planes(body, at, layout, some)
    elements[is_some] = some
    elements[~is_some] = negative_zeros.astype(elements.dtype) << 8 * layout.width - 1


def _decoded_flags(body: NDArray[np.uint8], at: int, num_flags: int) -> tuple[NDArray[np.bool_], int]:
    plane, at = decode_plane(body, at, -(-num_flags // 8), 8)
    return np.unpackbits(plane.view(np.uint8), count=num_flags, bitorder="little").view(np.bool_), at
