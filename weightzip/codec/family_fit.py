"""Encoding with a VAE family: train once, then code at any quality.

    tensors --fit--> FittedFamily: network, latents, its decoder stored more or less finely --encode(step)--> payload

How finely the decoder is stored is chosen anew for every step: by the bytes it takes, and the bits of residuals it saves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.blocks import Chunks, cut
from weightzip.blocks.kinds import kind_of
from weightzip.codec.auto import AutoCodec
from weightzip.codec.family_decode import (
    DECODER_SECTIONS,
    latents_of,
    predict_blocks,
    restore_blocks,
    steps_of_weights,
    tensor_of_chunks,
)
from weightzip.codec.family_header import SIZE_LIMIT, FamilyHeader, Layout, too_wide
from weightzip.codec.layers import encode_layers, join
from weightzip.codec.paper_header import LATENT_LIMIT, too_many_latents
from weightzip.codec.paper_quantise import MACHINE, array_integers
from weightzip.codec.residuals import Arrangement
from weightzip.codec.steps import STEPS_PER_OCTAVE, Magnitudes, Steps, choose_steps
from weightzip.codec.symbols import quantise_latents, round_latents
from weightzip.entropy import encode_integers
from weightzip.errors import FormatError, UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent
from weightzip.threads import limited_threads
from weightzip.vae import (
    KINDS,
    MAX_HIDDEN,
    Blocks,
    Family,
    Prediction,
    VAESettings,
    exact_decoder,
    fold,
    stored_state,
    train,
)
from weightzip.vae.gaussian import DISTORTION

_DECODER_STEPS = (1.0, 0.5, 0.25, 0.12, 0.06)  # relative to the deviation of the decoder's weights
_LATENT_STEP = 1.5  # fine steps of latents in deviations of their posterior, so that coding adds about its variance
_MOST_TENSORS = 256  # that a network tells apart; of more, the last ones count as one
_DEAD_ZONE = 0.1  # by how much less than the nearest a residual is rounded up, where no trellis weighs bits


@dataclass(frozen=True)
class StoredDecoder:
    """The decoder as a file holds it. step: of its weights. prediction: of all chunks [n, chunk], with what is stored."""

    data: bytes
    step: float
    family: Family
    prediction: Prediction


@dataclass(frozen=True)
class FittedFamily:
    """A network trained on a model, and everything of a file but the residuals.

    specs: of the tensors, whose deviations and so on are `magnitudes`. blocks: their chunks at unit scale. latents: section,
    and what it restores to. header: with a step and layout that `encode` overrides. decoders: from coarse to fine. family: the
    network as trained. notes: the losses by epoch.
    """

    specs: tuple[TensorSpec, ...]
    magnitudes: Mapping[str, Magnitudes]
    blocks: Blocks
    header: FamilyHeader
    latents: bytes
    latent_values: Tensor
    decoders: tuple[StoredDecoder, ...]
    family: Family
    notes: dict[str, Any]

    def encode(self, step: float) -> Payload:
        """The payload at a fine step of the residuals relative to the weights' deviation."""
        steps = choose_steps(self.magnitudes, step, {})
        by_weight = steps_of_weights(steps, self.header.scale, [spec.num_elements for spec in self.specs])
        decoder = min(self.decoders, key=lambda each: self._bits(each, by_weight))
        with limited_threads(1):
            layout, residuals = self._residuals(decoder, steps, by_weight)
        sections = {
            "decoder": decoder.data,
            "latents": self.latents,
            "steps": encode_integers(steps.codes),
            "residuals": residuals,
        }
        meta = asdict(self.header) | {"step": steps.base, "layout": layout, "decoder_step": decoder.step}
        return Payload(sections, meta, self.latent_values.numel(), self.notes)

    def _bits(self, decoder: StoredDecoder, by_weight: Tensor) -> float:
        """About what the decoder and residuals of its predictions take: a Gaussian for the weights of each tensor."""
        left = self._sequence(self.blocks.values.double() - decoder.prediction.mean) / by_weight
        parts = torch.split(left, [spec.num_elements for spec in self.specs])
        rates = (0.5 * len(part) * math.log2(1.0 + float(part.square().mean()) / DISTORTION) for part in parts if len(part))
        return 8 * len(decoder.data) + sum(rates)

    def _residuals(self, decoder: StoredDecoder, steps: Steps, by_weight: Tensor) -> tuple[Layout, bytes]:
        """The residuals' layout that takes fewer bytes, and the section."""
        by_tensor = Arrangement.of("tensors", self.specs)
        if decoder.family.frames > 1:
            left = self._closed_loop(decoder, by_weight)
            return "tensors", encode_layers([round_latents(by_tensor.arrays(left))])
        left = self._in_steps(self.blocks.values.double() - decoder.prediction.mean, by_weight)
        found: list[tuple[Layout, bytes]] = [("tensors", _coded(by_tensor, left))]
        if decoder.prediction.log_variance.dim():
            variances = self._sequence(decoder.prediction.log_variance)
            found.append(("classes", _coded(Arrangement.of("classes", self.specs, variances, steps.codes), left)))
        return min(found, key=lambda each: len(each[1]))

    def _closed_loop(self, decoder: StoredDecoder, by_weight: Tensor) -> NDArray[np.float32]:
        """Residuals [num_weights] in units of two fine steps, whole numbers, each of predictions from what is restored."""
        units = torch.nn.functional.pad(2.0 * by_weight, (0, self.header.padding), value=1.0).view(-1, self.header.chunk)
        found = torch.zeros_like(units)
        blocks = self.blocks.double()

        def residual(numbers: Tensor, mean: Tensor) -> Tensor:
            exact = (blocks.values[numbers] - mean) / units[numbers]
            found[numbers] = exact.sign() * torch.floor(exact.abs() + 0.5 - _DEAD_ZONE)
            return found[numbers] * units[numbers]

        restore_blocks(decoder.family, self.latent_values, blocks, residual)
        return self._sequence(found).numpy().astype(np.float32)

    def _in_steps(self, left: Tensor, by_weight: Tensor) -> NDArray[np.float32]:
        in_steps: NDArray[np.float32] = (self._sequence(left) / by_weight).numpy().astype(np.float32)
        return in_steps

    def _sequence(self, blocks: Tensor) -> Tensor:
        flat = blocks.reshape(-1)
        return flat[: len(flat) - self.header.padding]


def fit(tensors: Mapping[str, Tensor], settings: VAESettings, device: str, progress: Progress = silent) -> FittedFamily:
    """Train a family on a model's tensors. Raises UsageError for settings that make no sense for them."""
    chunks, specs = _checked_chunks(tensors, settings)
    offset, scale = chunks.standardisation()
    blocks = _blocks(chunks, specs, offset, scale)
    with limited_threads(1):  # the sums, and so the bytes, must not depend on how many there are
        family, history = train(blocks, settings, device=torch.device(device), progress=progress)
        family = family.cpu()
        section, latents = _latents(family, blocks)
        decoders = _stored_decoders(family, latents, blocks)
    header = FamilyHeader(
        family=settings.family,
        chunk=settings.chunk,
        latent=settings.latent,
        hidden=family.sizes.hidden,
        tensors=family.sizes.tensors,
        padding=chunks.padding,
        offset=offset,
        scale=scale,
        step=1.0,
        layout="tensors",
        decoder_step=1.0,
    )
    magnitudes = {name: Magnitudes.of(tensor) for name, tensor in tensors.items()}
    notes = {"history": [asdict(epoch) for epoch in history]}
    return FittedFamily(tuple(specs), magnitudes, blocks, header, section, latents, decoders, family, notes)


def _checked_chunks(tensors: Mapping[str, Tensor], settings: VAESettings) -> tuple[Chunks, list[TensorSpec]]:
    if not any(tensor.numel() for tensor in tensors.values()):
        raise UsageError("the paper preset needs floating-point weights; use --lossless for a checkpoint without")
    if too_wide(settings.chunk, settings.latent, settings.hidden or MAX_HIDDEN):
        raise UsageError(f"--chunk, --latent or --hidden is too large: {SIZE_LIMIT}")
    chunks = cut(tensors, settings.chunk)
    if too_many_latents(len(chunks.values), settings.latent, chunks.values.numel() - chunks.padding):
        raise UsageError(f"--latent {settings.latent} is too large for --chunk {settings.chunk}: {LATENT_LIMIT}")
    return chunks, [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]


def _blocks(chunks: Chunks, specs: Sequence[TensorSpec], offset: float, scale: float) -> Blocks:
    """The chunks at unit scale; each counts as one of the tensor that it begins in."""
    sizes = [spec.num_elements for spec in specs]
    tensor = tensor_of_chunks(sizes, chunks.values.shape[1], len(chunks.values))
    kinds = torch.tensor([KINDS.index(kind_of(spec.name, spec.shape)) for spec in specs])
    return Blocks((chunks.values - offset) / scale, tensor.clamp_max(_MOST_TENSORS - 1), kinds[tensor])


@torch.no_grad()
def _latents(family: Family, blocks: Blocks) -> tuple[bytes, Tensor]:
    """The section, and the latents float64 [n, num_latents] that it restores to."""
    posteriors = [family.posterior(batch) for _, batch in blocks.in_order(1, 4096)]
    mean = torch.cat([posterior.mean for posterior in posteriors]).double()
    if family.num_latents == 0:
        return b"", mean
    deviation = torch.cat([posterior.deviation for posterior in posteriors]).double().square().mean(dim=0).sqrt()
    codes = [round(STEPS_PER_OCTAVE * math.log2(_LATENT_STEP * float(each))) for each in deviation]
    steps = torch.tensor(Steps(1.0, tuple(codes)).sizes(), dtype=torch.float64)
    coded = quantise_latents([(mean / steps)[:, None, :].numpy().astype(np.float32)], num_states=MACHINE.num_states)
    return join([encode_integers(codes), encode_layers([coded])]), latents_of(array_integers(coded), codes)


@torch.no_grad()
def _stored_decoders(family: Family, latents: Tensor, blocks: Blocks) -> tuple[StoredDecoder, ...]:
    """The decoder at several step sizes, with the predictions of each; those that exact arithmetic cannot hold are left out."""
    folded = fold(family)
    state = stored_state(folded)
    specs = [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in state.items()]
    found = []
    for step in _DECODER_STEPS:
        payload = AutoCodec(step).encode({name: tensor.contiguous() for name, tensor in state.items()})
        restored = AutoCodec.decode(payload, specs)
        stored = fold(family)
        for name, tensor in stored_state(stored).items():
            tensor.copy_(restored[name])
        try:
            exact = exact_decoder(stored)
            prediction = _predictions(exact, latents, blocks)
        except FormatError:
            continue
        data = join([payload.sections.get(name, b"") for name in DECODER_SECTIONS])
        found.append(StoredDecoder(data, payload.meta["step"], exact, prediction))
    if not found:
        raise UsageError("the network has not learned anything that can be stored; use another --family or --seed")
    return tuple(found)


def _predictions(family: Family, latents: Tensor, blocks: Blocks) -> Prediction:
    """Of all chunks; for a family with memory, from the chunks before as they are."""
    double = blocks.double()
    if family.frames == 1:
        return predict_blocks(family, latents, double)
    mean = torch.zeros_like(double.values)
    for numbers, batch in double.in_order(family.frames, 4096):
        mean[numbers] = family.predict(batch).mean[batch.present]
    return Prediction(mean, mean.new_zeros(()))


def _coded(arrangement: Arrangement, left: NDArray[np.float32]) -> bytes:
    return encode_layers([quantise_latents(arrangement.arrays(left), num_states=MACHINE.num_states)])
