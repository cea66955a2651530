"""Reading what the first version stored exactly: bytes of each tensor, regrouped by significance, in one zstandard frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import zstandard
from torch import Tensor

from weightzip.checkpoint import dtype_of, num_bytes
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec


class LosslessCodecV1:
    """Gives every tensor back bit for bit, whatever its dtype. Section: "exact"."""

    name: ClassVar[str] = "lossless"

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, bit for bit. Raises FormatError where the data does not fill them exactly."""
        sizes = list(map(num_bytes, specs))
        data = _unpack(payload.sections.get("exact", b""), sum(sizes))
        tensors, start = {}, 0
        for spec, size in zip(specs, sizes, strict=True):
            dtype = dtype_of(spec.dtype)
            planes = np.frombuffer(data, np.uint8, size, start).reshape(dtype.itemsize, -1)  # [bytes per element, elements]
            flat = torch.from_numpy(planes.T.copy().reshape(-1))  # a copy, as `data` cannot be written to
            tensors[spec.name] = flat.view(dtype).reshape(spec.shape) if size else torch.empty(spec.shape, dtype=dtype)
            start += size
        return tensors


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
