"""Exact storage for any dtype: the bytes of each tensor, regrouped by significance, under zstandard.

Bytes of equal significance stand together, so that exponents, which repeat, are not scattered among mantissas, which do not
(as in ZipNN, Hershcovitch et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from torch import Tensor

from weightzip.checkpoint import dtype_of
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent

_LEVEL = 19
_FAST_LEVEL = 6
_LARGE = 16 << 20  # bytes from which the slow level, about 3 MB/s, would take too long


class LosslessCodec:
    """Gives every tensor back bit for bit, whatever its dtype. Section: "exact"."""

    name: ClassVar[str] = "lossless"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Code contiguous CPU tensors of any dtype."""
        planes = b"".join(_bytes(tensor).T.tobytes() for tensor in tensors.values())
        level = _LEVEL if len(planes) < _LARGE else _FAST_LEVEL
        return Payload({"exact": zstandard.ZstdCompressor(level=level).compress(planes)} if planes else {})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, bit for bit. Raises FormatError where the data does not fill them exactly."""
        sizes = [math.prod(spec.shape) * dtype_of(spec.dtype).itemsize for spec in specs]
        data = _unpack(payload.sections.get("exact", b""), sum(sizes))
        tensors, start = {}, 0
        for spec, size in zip(specs, sizes, strict=True):
            dtype = dtype_of(spec.dtype)
            planes = np.frombuffer(data, np.uint8, size, start).reshape(dtype.itemsize, -1)  # [bytes per element, elements]
            flat = torch.from_numpy(planes.T.copy().reshape(-1))  # a copy, as `data` cannot be written to
            tensors[spec.name] = flat.view(dtype).reshape(spec.shape) if size else torch.empty(spec.shape, dtype=dtype)
            start += size
        return tensors


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a tensor, [elements, bytes per element]."""
    flat = tensor.reshape(-1)
    data: NDArray[np.uint8] = flat.view(torch.uint8).numpy() if flat.numel() else np.zeros(0, np.uint8)
    return data.reshape(-1, tensor.dtype.itemsize)


def _unpack(data: bytes, expected: int) -> bytes:
    """Unpack, after its declared size has been found to be the expected one."""
    if not data and not expected:
        return b""
    try:
        declared = zstandard.frame_content_size(data)
        if declared != expected:
            raise FormatError(f"exact tensors unpack to {declared:,} bytes instead of {expected:,}")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise FormatError(f"exact tensors cannot be unpacked: {error}") from error
