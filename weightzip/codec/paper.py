"""The paper's codec: a dense VAE per model over zero-padded chunks (Cheng et al. 2024), with its decoder in the file.

    tensors --cut--> chunks [n, 2048] --encoder--> posterior means [n, 64] --quantise--> section "latents"
                                 decoder, trained on noise-perturbed copies --quantise--> section "decoder"

What the paper leaves open is how the network is stored: see `weightzip.codec.paper_quantise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip.blocks import Chunks, cut, paste
from weightzip.codec.layers import decode_layers, encode_layers
from weightzip.codec.paper_header import LATENT_LIMIT, SIZE_LIMIT, PaperHeader, over_limit, too_many_latents
from weightzip.codec.paper_quantise import MACHINE, Stored, Trained, integer_decoder, store
from weightzip.errors import FormatError, UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent
from weightzip.threads import limited_threads
from weightzip.vae import MAX_HIDDEN, Blocks, IntegerDecoder, VAESettings, train


@dataclass(frozen=True)
class PaperCodec:
    """settings: of the VAE and its training. stored_error: relative mse by which storing the decoder may move its output.

    Whole-file ratio and accuracy in percent at seed 0, in brackets that of the original:

    | stored_error | mnist-fnn (98.38) | mnist-cnn (99.11) | mnist-rnn (98.31) | mnist-lstm (99.17) |
    |---|---|---|---|---|
    | 0.015 | 10.1x 98.26 | 10.2x 99.10 | 9.6x 98.34 | 10.0x 99.08 |
    | 0.03 | 12.0x 98.38 | 12.0x 98.89 | 11.3x 98.17 | 11.8x 99.05 |
    | 0.04 | 13.1x 98.36 | 13.1x 98.99 | 12.2x 98.03 | 12.9x 99.14 |
    | 0.05 | 14.0x 98.29 | 14.0x 99.00 | 13.0x 97.97 | 13.7x 99.03 |
    | 0.07 | 15.7x 98.25 | 15.6x 98.89 | 14.4x 97.89 | 15.2x 99.13 |
    | 0.1 | 17.8x 98.21 | 18.0x 98.61 | 16.4x 96.89 | 17.1x 98.96 |
    """

    settings: VAESettings = field(default_factory=VAESettings)
    stored_error: float = 0.04
    device: str = "cpu"
    name: ClassVar[str] = "paper.2"
    family: ClassVar[str] = "dense"  # all others are coded by `weightzip.codec.family`

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Train a VAE on the tensors and code their posterior means and the decoder.

        Notes: "history", the losses by epoch; "float_decoder", the tensors as the decoder gives them before it is quantised.
        """
        if not any(tensor.numel() for tensor in tensors.values()):
            raise UsageError("the paper preset needs floating-point weights; use --lossless for a checkpoint without")
        if over_limit(self.settings.chunk, self.settings.latent, self.settings.hidden or MAX_HIDDEN):
            raise UsageError(f"--chunk, --latent or --hidden is too large: {SIZE_LIMIT}")
        chunks = cut(tensors, self.settings.chunk)
        num_weights = chunks.values.numel() - chunks.padding
        if too_many_latents(len(chunks.values), self.settings.latent, num_weights):
            raise UsageError(f"--latent {self.settings.latent} is too large for --chunk {self.settings.chunk}: {LATENT_LIMIT}")
        offset, scale = chunks.standardisation()
        blocks = (chunks.values - offset) / scale  # [n, chunk]
        # One thread: the sums, and so the bytes, must not depend on how many there are.
        with limited_threads(1):
            model, history = train(Blocks.alike(blocks), self.settings, device=torch.device(self.device), progress=progress)
            trained = Trained.of(model.cpu(), blocks)
            stored = store(trained, self.stored_error)
        unquantised = Chunks((trained.outputs * scale + offset).float(), chunks.padding)
        specs = [TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in tensors.items()]
        notes = {"history": [asdict(epoch) for epoch in history], "float_decoder": paste(unquantised, specs)}
        return _pack(stored, chunks.padding, offset, scale, notes)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors; exact integer arithmetic up to one final rounding, hence the same everywhere."""
        header = PaperHeader.parse(payload.meta)
        num_chunks = header.num_chunks(sum(spec.num_elements for spec in specs))
        latents, decoder = unpack(payload, header, num_chunks)
        values = decoder.decode(latents, scale=header.unit, offset=header.offset)
        return paste(Chunks(torch.from_numpy(values), header.padding), specs)


def _pack(stored: Stored, padding: int, offset: float, scale: float, notes: dict[str, Any]) -> Payload:
    num_chunks, _, latent = stored.latents.scales[0].shape
    hidden, _, chunk = stored.second.scales[0].shape
    header = PaperHeader(
        chunk=chunk,
        latent=latent,
        hidden=hidden - 1,
        padding=padding,
        mean_shift=stored.mean_shift,
        unit=float(f"{stored.unit * scale:.8e}"),
        offset=offset,
    )
    sections = {"latents": encode_layers([stored.latents]), "decoder": encode_layers([stored.first, stored.second])}
    return Payload(sections, asdict(header), num_chunks * latent, notes)


def unpack(payload: Payload, header: PaperHeader, num_chunks: int) -> tuple[NDArray[np.int32], IntegerDecoder]:
    """The latents [num_chunks, latent] and the decoder of a payload. Raises FormatError."""
    if sorted(payload.sections) != ["decoder", "latents"]:
        raise FormatError("the paper codec needs exactly the sections latents and decoder")
    shapes = [(header.latent + 1, 1, header.hidden), (header.hidden + 1, 1, header.chunk)]
    (first,), (second,) = decode_layers(payload.sections["decoder"], [[shape] for shape in shapes], MACHINE)
    ((latents,),) = decode_layers(payload.sections["latents"], [[(num_chunks, 1, header.latent)]], MACHINE)
    return latents[:, 0], integer_decoder(first, second, header.mean_shift)
