"""Casts: every weight in two bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from weightzip.baselines.floats import float_bytes
from weightzip.baselines.packing import pack
from weightzip.baselines.reader import open_sections
from weightzip.baselines.tensors import check_setting, to_array
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, ProgressEvent, silent


@dataclass(frozen=True)
class Cast:
    """All tensors in IEEE half precision or bfloat16, rounded to nearest even, as byte planes.

    A tensor whose largest magnitude lies outside the normal range of `precision` is kept in float32.
    """

    precision: Literal["float16", "bfloat16"] = "float16"
    name: ClassVar[str] = "baseline/cast"

    def __post_init__(self) -> None:
        check_setting("precision", self.precision, ("float16", "bfloat16"))

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Section: values."""
        values = []
        for done, (name, tensor) in enumerate(tensors.items(), start=1):
            values.append(float_bytes(to_array(tensor), self.precision))
            progress(ProgressEvent(self.precision, done, len(tensors), name))
        return Payload({"values": pack(b"".join(values))})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, back in float32. Raises FormatError."""
        with open_sections(payload, specs, ("values",)) as (values,):
            return {spec.name: torch.from_numpy(values.floats(spec.num_elements).reshape(spec.shape)) for spec in specs}
