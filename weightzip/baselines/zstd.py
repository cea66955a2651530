"""zstandard on the raw bytes: the lossless floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from weightzip.baselines.floats import byte_planes, from_byte_planes, from_words
from weightzip.baselines.packing import LEVEL, pack
from weightzip.baselines.reader import open_sections, read_setting
from weightzip.baselines.tensors import check_setting, to_array
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent

_LEVELS = range(1, 23)
_LAYOUTS = ("raw", "planes")


@dataclass(frozen=True)
class Zstd:
    """The float32 bytes, unchanged, in one zstandard frame (RFC 8878); restored bit by bit.

    level: 1 (fast) to 22 (small).
    layout: "raw", as a .pt file holds them, or "planes", each tensor's bytes regrouped by significance as ZipNN
        (Hershcovitch et al. 2024) and Blosc do, so that the exponents, which repeat, stand together.
    """

    level: int = LEVEL
    layout: Literal["raw", "planes"] = "raw"
    name: ClassVar[str] = "baseline/zstd"

    def __post_init__(self) -> None:
        check_setting("level", self.level, _LEVELS)
        check_setting("layout", self.layout, _LAYOUTS)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Section: values."""
        words = [to_array(tensor).astype("<f4").ravel() for tensor in tensors.values()]
        values = [array.tobytes() if self.layout == "raw" else byte_planes(array) for array in words]
        return Payload({"values": pack(b"".join(values), [self.level])}, {"layout": self.layout})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, bit by bit. Raises FormatError."""
        raw = read_setting(payload, "layout", _LAYOUTS) == "raw"
        tensors = {}
        with open_sections(payload, specs, ("values",)) as (values,):
            for spec in specs:
                data = values.take(4 * spec.num_elements)
                array = from_words(data if raw else from_byte_planes(data, 4), "float32")
                tensors[spec.name] = torch.from_numpy(array.reshape(spec.shape))
        return tensors
