"""The default codec's format for symbols that were found by training: they are coded as they are, whatever the source was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.codec.auto import AutoCodec, payload_of
from weightzip.codec.steps import Steps
from weightzip.codec.symbols import encode_symbols, round_latents, shorten
from weightzip.codec.transforms import Transforms
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, ProgressEvent, silent


@dataclass(frozen=True, eq=False)
class TrainedCodec:
    """names: of the tensors, in order; symbols: of each, its latents [a, b, c] in units of two fine steps."""

    names: tuple[str, ...]
    transforms: Transforms
    symbols: tuple[NDArray[np.int32], ...]
    steps: Steps
    name: ClassVar[str] = AutoCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """The file's sections for those of the tensors that are asked for; what they hold is not looked at."""
        chosen = [number for number, name in enumerate(self.names) if name in tensors]
        symbols = shorten(round_latents([self.symbols[number].astype(np.float64) for number in chosen]))
        payload = payload_of(encode_symbols(symbols), self.transforms.only(chosen), self.steps.at(chosen), symbols.machine)
        progress(ProgressEvent("coding", 1, 1))
        return payload

    def restored(self) -> dict[str, Tensor]:
        """What the file's tensors decode to, in float32."""
        sizes = self.steps.sizes()
        return {
            name: torch.from_numpy(self.transforms.restore(number, 2 * self.symbols[number], sizes[number]))
            for number, name in enumerate(self.names)
        }

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As AutoCodec's."""
        return AutoCodec.decode(payload, specs)
