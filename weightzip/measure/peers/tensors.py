"""Reading .safetensors with numpy alone; NNCodec's environment need not have the library for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bfloat16: the upper half of a float32


@dataclass(frozen=True)
class Stored:
    """A floating-point tensor: its dtype as the format calls it, its shape, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def float32(self) -> Any:
        """The values, rounded to float32 where they are float64, in a writable array of the tensor's shape."""
        array = np.frombuffer(self.data, _NUMPY[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            return (array.astype("<u4") << 16).view("<f4")
        return array.astype("<f4")


def read_floats(path: str) -> dict[str, Stored]:
    """The floating-point tensors of a .safetensors file, in its order; others are left out."""
    with Path(path).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        found = {}
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in _NUMPY:
                continue
            first, last = entry["data_offsets"]
            file.seek(start + first)
            found[name] = Stored(entry["dtype"], tuple(entry["shape"]), file.read(last - first))
    return found
