"""Reading what the first version of the paper's codec wrote, with scalar quantisation.

sections "latents", "decoder" --decode--> integer matrices --IntegerDecoder--> chunks --paste--> tensors
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from weightzip.blocks import Chunks, paste
from weightzip.codec.matrices import CodedMatrices, decode_matrices
from weightzip.codec.paper_header import PaperHeader
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.vae import IntegerDecoder


class PaperCodecV1:
    """A decoder alone: files of the format "paper" are no longer written."""

    name: ClassVar[str] = "paper"

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors; exact integer arithmetic up to one final rounding, hence the same everywhere."""
        header = PaperHeader.parse(payload.meta)
        num_chunks = header.num_chunks(sum(spec.num_elements for spec in specs))
        if sorted(payload.sections) != ["decoder", "latents"]:
            raise FormatError("the paper codec needs exactly the sections latents and decoder")
        (latents,) = decode_matrices(_split(payload.sections["latents"]), [(num_chunks, header.latent)])
        shapes = [(header.hidden, header.latent), (header.hidden, 1), (header.chunk, header.hidden), (header.chunk, 1)]
        first, bias, second, mean = decode_matrices(_split(payload.sections["decoder"]), shapes)
        decoder = IntegerDecoder(first, bias, second, mean, header.mean_shift)
        values = decoder.decode(latents, scale=header.unit, offset=header.offset)
        return paste(Chunks(torch.from_numpy(values), header.padding), specs)


def _split(data: bytes) -> CodedMatrices:
    end = 4 + int.from_bytes(data[:4], "little")
    if len(data) < end:
        raise FormatError("coded matrices are cut short")
    return CodedMatrices(data[4:end], data[end:])
