"""The codec of the VAE families: a network per model, latents, and what they leave over, at any quality.

    tensors --cut--> chunks [n, chunk] --network--> posterior means --trellis--> latents, section "latents"
                                   its decoder --the default codec--> section "decoder"
    chunks - exact prediction from both --trellis--> residuals, sections "steps" and "residuals"

The file is the ELBO: latents cost the KL divergence, residuals the reconstruction, and the decoder what it weighs. A causal
family has no latents; it predicts every chunk from restored ones, so there chunks are coded one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from weightzip.codec.family_decode import decode_family
from weightzip.codec.family_fit import fit
from weightzip.codec.steps import DEFAULT_STEP
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent
from weightzip.vae import VAESettings


@dataclass(frozen=True)
class FamilyCodec:
    """settings: of the network and its training; step: the fine step of the residuals, as that of the default codec."""

    settings: VAESettings = field(default_factory=lambda: VAESettings.of("heteroskedastic"))
    step: float = DEFAULT_STEP
    device: str = "cpu"
    name: ClassVar[str] = "paper.family"

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Train a network on the tensors, and code them with it. Notes: "history", the losses by epoch."""
        return fit(tensors, self.settings, self.device, progress).encode(self.step)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors: everything up to one final rounding is exact, hence the same on every machine."""
        return decode_family(payload, specs)
