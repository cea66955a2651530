"""The safetensors format: 8 bytes length of a JSON header, the header, the tensors' values without gaps.

https://github.com/huggingface/safetensors#format. Written here, because the library wants all tensors at once and sorts
them; reading is the library's (`read_safetensors`).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from weightzip.checkpoint.aliases import View, apply_view
from weightzip.checkpoint.build import Location
from weightzip.checkpoint.dtypes import dtype_of
from weightzip.checkpoint.raw import allocate, byte_blocks, write_at
from weightzip.errors import UnsupportedCheckpointError
from weightzip.interface import JSON, TensorSpec

LENGTH = struct.Struct("<Q")
METADATA = "__metadata__"  # the one entry of a header that is no tensor
_ALIGNMENT = 8
_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float4_e2m1fn_x2": "F4",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}


_BY_CODE = {code: name for name, code in _DTYPES.items()}


class SafetensorsFile:
    """A .safetensors file, without its values at first.

    places: for each key in order where its tensor is to be found. Raises UnsupportedCheckpointError for what the format
    lacks, OSError where the system refuses to write.
    """

    def __init__(
        self,
        places: Mapping[str, Location],
        specs: Mapping[str, TensorSpec],
        metadata: Mapping[str, str] | None,
        path: Path,
    ) -> None:
        self._path = path
        head, offsets, size = _layout(places, specs, metadata)
        path.write_bytes(head)
        allocate(path, size)
        self._parts: dict[str, list[tuple[int, View]]] = {}
        for place, offset in zip(places.values(), offsets, strict=True):
            self._parts.setdefault(place.base, []).append((offset, place.view))

    @property
    def bases(self) -> Collection[str]:
        """Names of the stored tensors of which the file holds something."""
        return self._parts.keys()

    def put(self, name: str, tensor: Tensor) -> None:
        """Fill in the values of all that is to be found in one stored tensor."""
        with self._path.open("r+b", buffering=0) as file:
            for offset, view in self._parts[name]:
                for block in byte_blocks(apply_view(tensor, view)):
                    write_at(file, offset, block)
                    offset += len(block)


def _layout(
    places: Mapping[str, Location], specs: Mapping[str, TensorSpec], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[int], int]:
    """What stands before the values, where in the file the values of each key begin, and how long it is, in bytes."""
    header: dict[str, JSON] = {} if metadata is None else {METADATA: dict(metadata)}
    offsets, end = [], 0
    for key, place in places.items():
        if key == METADATA:
            raise UnsupportedCheckpointError(f"safetensors cannot hold a tensor called {key!r}; write a .pt file instead")
        dtype = specs[place.base].dtype
        start, end = end, end + math.prod(place.shape) * dtype_of(dtype).itemsize
        offsets.append(start)
        header[key] = {**_kind(dtype, place.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = LENGTH.pack(len(text)) + text
    return head, [len(head) + offset for offset in offsets], len(head) + end


def tensor_kind(code: str, shape: Sequence[int]) -> tuple[torch.dtype, list[int]]:
    """The dtype and the shape of a tensor that a header describes so. Raises KeyError for a dtype that torch lacks."""
    name = _BY_CODE[code]
    return dtype_of(name), [*shape[:-1], shape[-1] // 2] if name.endswith("_x2") else list(shape)


def _kind(dtype: str, shape: Sequence[int]) -> dict[str, JSON]:
    """A tensor's dtype and shape as a header has them; of a dtype that packs two values into an element both count."""
    packed = dtype.endswith("_x2")
    if dtype not in _DTYPES or (packed and not shape):
        raise UnsupportedCheckpointError(f"safetensors cannot hold torch.{dtype}; write a .pt file instead")
    return {"dtype": _DTYPES[dtype], "shape": [*shape[:-1], shape[-1] * 2] if packed else list(shape)}
