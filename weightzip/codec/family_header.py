"""The numbers that the codec of the VAE families needs for decoding besides the sections, and their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from weightzip.codec.paper_header import LATENT_LIMIT, too_many_latents
from weightzip.errors import FormatError, LimitError
from weightzip.interface import JSON
from weightzip.vae import FAMILIES, Family, Sizes, build_family
from weightzip.vae.families.conv import ConvVAE

Layout = Literal["tensors", "classes"]
LAYOUTS: tuple[Layout, ...] = ("tensors", "classes")
_MAX_WIDTH = 1 << 13  # of any layer
_MAX_TENSORS = 1 << 16  # that a decoder tells apart
SIZE_LIMIT = f"at most {_MAX_WIDTH:,} units a layer are allowed"
_DECODER_BYTES = 40  # per weight of the decoder, in use: as float32, as float64, and coded
_WEIGHT_BYTES = 64  # per weight that is restored: points, residual, prediction and result in float64
_ACTIVATION_BYTES = 256  # per activation of the widest layer, of the chunks that are decoded at a time
_MAX_PRODUCTS = 1 << 20  # multiplications of the network for each weight that is restored: hours for a million weights
_LATENT_BYTES, _CHUNK_BYTES = 24, 48  # per latent, and per chunk, of all chunks
_BATCH, _BATCH_ACTIVATIONS = 4096, 1 << 19  # chunks, and activations of the widest layer, that are computed at a time


@dataclass(frozen=True)
class FamilyHeader:
    """family: its name. chunk, latent, hidden, tensors: sizes of its network. padding: zeros that end the last chunk.

    offset, scale: mean and deviation of the weights, which the network sees as 0 and 1. step: the common fine step of the
    residuals, in the weights' own unit. layout: how residuals are arranged. decoder_step: fine step of the decoder's weights.
    """

    family: str
    chunk: int
    latent: int
    hidden: int
    tensors: int
    padding: int
    offset: float
    scale: float
    step: float
    layout: Layout
    decoder_step: float

    @staticmethod
    def parse(meta: Mapping[str, JSON]) -> FamilyHeader:
        """Check every field. Raises FormatError or LimitError."""
        names = list(FamilyHeader.__dataclass_fields__)
        if sorted(meta) != sorted(names):
            raise FormatError(f"the header of a family's codec must have exactly the fields {', '.join(names)}")
        header = FamilyHeader(**meta)
        if not isinstance(header.family, str):
            raise FormatError("the family must be a name")
        if header.family not in FAMILIES:
            raise LimitError(f"made by the family {header.family!r}, which this version lacks; update weightzip")
        sizes = (header.chunk, header.latent, header.hidden, header.tensors)
        if any(type(number) is not int or number < 1 for number in sizes):
            raise FormatError("the sizes of a family's network must be whole numbers of at least one")
        if type(header.padding) is not int or not 0 <= header.padding < header.chunk:
            raise FormatError("the padding does not fit the chunks")
        if header.layout not in LAYOUTS:
            raise FormatError(f"the layout of residuals must be one of {', '.join(LAYOUTS)}")
        numbers = (header.offset, header.scale, header.step, header.decoder_step)
        if not all(isinstance(number, float) and math.isfinite(number) for number in numbers) or min(numbers[1:]) <= 0:
            raise FormatError("the scales of a family's codec are out of range")
        header._check_limits()
        return header

    def num_chunks(self, num_weights: int, num_tensors: int) -> int:
        """How many chunks hold so many weights of so many tensors. Raises FormatError or LimitError where they do not fit."""
        num_chunks, remainder = divmod(num_weights + self.padding, self.chunk)
        if remainder or num_chunks == 0:
            raise FormatError("the padding does not fit the tensors' sizes")
        if self.tensors > num_tensors:
            raise FormatError("the decoder tells more tensors apart than there are")
        if too_many_latents(num_chunks, self.latent, num_weights):
            raise LimitError(f"{num_chunks * self.latent:,} latents for {num_weights:,} weights: {LATENT_LIMIT}")
        return num_chunks

    def _check_limits(self) -> None:
        if too_wide(self.chunk, self.latent, self.hidden) or self.tensors > _MAX_TENSORS:
            raise LimitError(f"the decoder is too large: {SIZE_LIMIT}, for {_MAX_TENSORS:,} tensors")


def too_wide(chunk: int, latent: int, hidden: int) -> bool:
    """Whether a network of these sizes is too large."""
    return max(chunk, latent, hidden) > _MAX_WIDTH


def decoder_outline(header: FamilyHeader) -> Family:
    """The family's networks without their encoder, in tensors that take no memory.

    An encoder can be a thousand times as large as its decoder, and is not stored.
    """
    with torch.device("meta"):
        family = build_family(header.family, Sizes(header.chunk, header.latent, header.hidden, header.tensors))
    for name, part in list(family.named_children()):
        if part is not family.decoder and any(True for _ in part.parameters()):
            delattr(family, name)
    return family


def batch_size(family: Family) -> int:
    """Chunks at a time, which bounds memory; what they decode to does not depend on it."""
    return max(family.frames, min(_BATCH, _BATCH_ACTIVATIONS // _widest(family)))


def _widest(family: Family) -> int:
    """Activations of the widest layer of a decoder, for each chunk."""
    sizes: Sizes = family.sizes
    return max(128, sizes.block, sizes.hidden, sizes.tensors, 128 * sizes.latent if family.num_latents else 0)


def family_working_bytes(meta: Mapping[str, JSON], num_weights: int) -> int:
    """About how many bytes decoding so many weights takes at its peak. Raises FormatError or LimitError."""
    header = FamilyHeader.parse(meta)
    family = decoder_outline(header)
    num_chunks = -(-num_weights // header.chunk)
    chunks = min(batch_size(family), family.frames * (1 + num_chunks))
    each = _LATENT_BYTES * family.num_latents + _CHUNK_BYTES
    weights, activations = _WEIGHT_BYTES * (num_weights + header.chunk), _ACTIVATION_BYTES * _widest(family) * chunks
    return _DECODER_BYTES * _num_parameters(family) + weights + activations + each * num_chunks


def check_products(family: Family) -> None:
    """Raise LimitError where decoding a weight takes more multiplications than any sensible network needs."""
    cells = max(1, family.sizes.latent if isinstance(family, ConvVAE) else family.frames)
    products = _num_parameters(family) * cells // family.sizes.block
    if products > _MAX_PRODUCTS:
        raise LimitError(
            f"the network takes {products:,} multiplications a weight, over {_MAX_PRODUCTS:,}; its chunks are too small"
        )


def _num_parameters(family: Family) -> int:
    """Of the decoder."""
    count: int = sum(tensor.numel() for tensor in family.decoder.state_dict().values())
    return count
