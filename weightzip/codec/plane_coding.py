"""One plane of values as bytes, by whichever of four methods is the smallest, and back.

    plane = 1 byte method, 4 bytes number of bytes B, B bytes; all integers little-endian

    method 0, constant    2 bytes: the value that all have
    method 1, packed      values of 8 bits: a byte each. Of b = 4 or 6 bits, in k = 8 / (8 - b) parts of q = ceil(n / k) values
                          (missing ones are 0): k - 1 times q bytes. Byte i of the j-th q, from 0 on, has value i of part j in
                          its lower b bits, above them bits (8 - b) j to (8 - b) (j + 1) - 1 of value i of the last part
    method 2, rANS        see `weightzip.entropy.rans`
    method 3, zstandard   one frame that says its size, of values of 1 byte (up to 8 bits) or 2

zstandard finds what recurs in a longer context; whether anything does is judged by a sample, as its search takes longest where
there is nothing to be found.
"""

from __future__ import annotations

import threading

import numpy as np
import zstandard
from numpy.typing import NDArray

from weightzip.codec.element_planes import Plane, plane_dtype
from weightzip.entropy.rans import decode_symbols, encode_symbols, expected_bytes
from weightzip.errors import FormatError

_CONSTANT, _PACKED, _RANS, _ZSTD = range(4)
_LEVEL = 9
_HIGHEST_LEVEL = 19  # for what is not more than _LITTLE
_LITTLE = 8 << 10  # bytes; there, no sample is needed either
_SAMPLE_LEVEL = 1
_SAMPLE_PIECES = 4
_SAMPLE_PIECE = 2048  # bytes
_WORTH_SEARCHING = 0.9  # zstandard must take less than this, of what the other methods take
_WORTH_CODING = 0.995  # what rANS saves must be worth its time


class _Local(threading.local):
    """A compressor for each thread, as one is not for several, and making one takes longer than a sample."""

    def __init__(self) -> None:
        self.sampler = zstandard.ZstdCompressor(level=_SAMPLE_LEVEL)


_local = _Local()


def encode_plane(plane: Plane, bits: int, counts: NDArray[np.int64], *, may_recur: bool = True) -> bytes:
    """Code values [n], n > 0, of `bits` bits each; counts [2^bits]: how often each occurs.

    may_recur: whether it is worth looking for values that recur together.
    """
    if counts[plane[0]] == plane.size:
        return _told(_CONSTANT, int(plane[0]).to_bytes(2, "little"))
    packed_bytes = _packed_size(plane.size, bits) if bits <= 8 else 2 * plane.size
    rans_bytes = expected_bytes(counts)
    shortest = min(rans_bytes, packed_bytes)
    frame = compress_if_promising(plane.view(np.uint8), shortest) if may_recur else None
    if frame is not None:
        return _told(_ZSTD, frame)
    if bits > 8 or rans_bytes < _WORTH_CODING * packed_bytes:
        return _told(_RANS, encode_symbols(plane, counts))
    return _told(_PACKED, _pack(plane, bits))


def decode_plane(data: NDArray[np.uint8], at: int, num_values: int, bits: int) -> tuple[Plane, int]:
    """The plane [num_values] of `encode_plane` that begins at data[at], and where it ends. Raises FormatError."""
    if at + 5 > data.size:
        raise FormatError("a plane is cut short")
    start = at + 5
    end = start + int.from_bytes(data[at + 1 : start].tobytes(), "little")
    if end > data.size:
        raise FormatError("a plane is cut short")
    return _decoded(int(data[at]), data[start:end], num_values, bits), end


def compress_if_promising(data: NDArray[np.uint8], rival_bytes: float) -> bytes | None:
    """A zstandard frame of bytes [n], if a sample says that it is well below `rival_bytes`, and it then is below."""
    if data.size > _LITTLE:
        size = min(_SAMPLE_PIECE, data.size // _SAMPLE_PIECES)
        starts = [k * (data.size - size) // (_SAMPLE_PIECES - 1) for k in range(_SAMPLE_PIECES)]
        sample = np.concatenate([data[start : start + size] for start in starts])
        in_sample = len(_local.sampler.compress(sample.data))
        if in_sample * data.size > _WORTH_SEARCHING * rival_bytes * sample.size:
            return None
    level = _LEVEL if data.size > _LITTLE else _HIGHEST_LEVEL
    frame = zstandard.ZstdCompressor(level=level).compress(data.data)
    return frame if len(frame) < rival_bytes else None


def unpack_frame(data: NDArray[np.uint8], expected: int) -> NDArray[np.uint8]:
    """The `expected` bytes of a zstandard frame, whose declared size is compared first. Raises FormatError. Read-only."""
    frame = data.tobytes()
    try:
        declared = zstandard.frame_content_size(frame)
        if declared != expected:
            raise FormatError(f"exact data unpack to {declared:,} bytes instead of {expected:,}")
        return np.frombuffer(zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False), np.uint8)
    except (zstandard.ZstdError, ValueError) as error:
        raise FormatError(f"exact data cannot be unpacked: {error}") from error


def _told(method: int, body: bytes) -> bytes:
    return bytes([method]) + len(body).to_bytes(4, "little") + body


def _decoded(method: int, body: NDArray[np.uint8], num_values: int, bits: int) -> Plane:
    dtype = plane_dtype(bits)
    if method == _RANS:
        plane: Plane = np.empty(num_values, dtype)
        decode_symbols(body, plane, 1 << bits)
        return plane
    if method == _PACKED and bits <= 8:
        if body.size != _packed_size(num_values, bits):
            raise FormatError(f"a plane has {body.size:,} bytes instead of {_packed_size(num_values, bits):,}")
        return _unpack(body, num_values, bits)
    if method == _CONSTANT and body.size == 2:
        return np.full(num_values, _below(body.view("<u2"), bits)[0], dtype)
    if method == _ZSTD:
        values = unpack_frame(body, num_values * dtype.itemsize).view(dtype.newbyteorder("<"))
        return _below(values.astype(dtype), bits)  # a copy, as a frame's bytes cannot be written to
    raise FormatError(f"a plane of {bits} bits cannot be coded by method {method}")


def _below(values: Plane, bits: int) -> Plane:
    """Values of no more than so many bits. Raises FormatError where any has more, and would spoil its neighbours."""
    if bits < 8 * values.itemsize and values.max(initial=0) >= 1 << bits:
        raise FormatError(f"a value of a plane has more than {bits} bits")
    return values


def _packed_size(num_values: int, bits: int) -> int:
    parts = 8 // (8 - bits) if bits < 8 else 1
    return num_values if parts == 1 else (parts - 1) * -(-num_values // parts)


def _pack(plane: Plane, bits: int) -> bytes:
    if bits == 8:
        return plane.tobytes()
    spare = 8 - bits
    num_parts = 8 // spare
    size = -(-plane.size // num_parts)
    parts = np.zeros((num_parts, size), np.uint8)
    parts.reshape(-1)[: plane.size] = plane
    for j in range(num_parts - 1):
        parts[j] |= (parts[-1] >> spare * j) << bits  # what is above falls off
    return parts[:-1].tobytes()


def _unpack(body: NDArray[np.uint8], num_values: int, bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return np.array(body)  # a copy, so that kernels see one kind of array: the section cannot be written to
    spare = 8 - bits
    num_parts = 8 // spare
    size = -(-num_values // num_parts)
    parts: NDArray[np.uint8] = np.zeros((num_parts, size), np.uint8)
    carriers = body.reshape(num_parts - 1, size)
    np.bitwise_and(carriers, (1 << bits) - 1, out=parts[:-1])
    for j in range(num_parts - 1):
        parts[-1] |= (carriers[j] >> bits) << spare * j
    values: NDArray[np.uint8] = parts.reshape(-1)[:num_values]
    return values
