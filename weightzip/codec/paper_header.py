"""The numbers that every version of the paper's codec needs for decoding besides the sections, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightzip.codec.header import is_number
from weightzip.errors import FormatError, LimitError
from weightzip.interface import JSON

_MAX_WIDTH = 1 << 16  # of any layer
_MAX_LAYER = 1 << 26  # weights of any layer
_MAX_LATENTS = 1 << 16  # of a file of few weights
_MAX_LATENTS_PER_WEIGHT = 4
_BATCH = 4096  # chunks that the integer decoder takes at a time
_LATENT_BYTES = 10  # per latent, at the peak of decoding them
_DECODER_BYTES = 28  # per weight of the decoder, in use: int32, float64, and two more of float64 while sums are checked
SIZE_LIMIT = f"at most {_MAX_WIDTH:,} units and {_MAX_LAYER:,} weights a layer are allowed"
LATENT_LIMIT = f"at most {_MAX_LATENTS_PER_WEIGHT} a weight and {_MAX_LATENTS:,} more are allowed"


@dataclass(frozen=True)
class PaperHeader:
    """Sizes of the network; mean_shift: of its output's bias; unit, offset: what the integers of its output are worth."""

    chunk: int
    latent: int
    hidden: int
    padding: int
    mean_shift: int
    unit: float
    offset: float

    @staticmethod
    def parse(meta: Mapping[str, JSON]) -> PaperHeader:
        """Check every field. Raises FormatError or LimitError."""
        names = list(PaperHeader.__dataclass_fields__)
        if sorted(meta) != sorted(names):
            raise FormatError(f"the paper codec's header must have exactly the fields {', '.join(names)}")
        header = PaperHeader(**meta)
        integers = (header.chunk, header.latent, header.hidden, header.padding, header.mean_shift)
        if any(type(number) is not int or number < 0 for number in integers):
            raise FormatError("the paper codec's sizes must be whole numbers")
        if over_limit(header.chunk, header.latent, header.hidden):
            raise LimitError(f"the decoder is too large: {SIZE_LIMIT}")
        if header.chunk == 0:
            raise FormatError("the paper codec's chunks are empty")
        if header.mean_shift > 52 or not (is_number(header.unit) and is_number(header.offset)):
            raise FormatError("the paper codec's scale is out of range")
        return header

    def num_chunks(self, num_weights: int) -> int:
        """How many chunks hold so many weights. Raises FormatError where the padding does not fit, LimitError."""
        num_chunks, remainder = divmod(num_weights + self.padding, self.chunk)
        if remainder or self.padding >= self.chunk:
            raise FormatError("the padding does not fit the tensors' sizes")
        if too_many_latents(num_chunks, self.latent, num_weights):
            raise LimitError(f"{num_chunks * self.latent:,} latents for {num_weights:,} weights: {LATENT_LIMIT}")
        return num_chunks


def working_bytes(meta: Mapping[str, JSON], num_weights: int) -> int:
    """Bytes that decoding so many weights takes at its peak. Raises FormatError or LimitError."""
    header = PaperHeader.parse(meta)
    num_chunks = header.num_chunks(num_weights)
    decoder = header.hidden * (header.latent + 1) + header.chunk * (header.hidden + 1)
    per_chunk = 2 * header.latent + 3 * header.hidden + 2 * header.chunk  # float64 numbers in use
    latents, output = _LATENT_BYTES * num_chunks * header.latent, 4 * num_chunks * header.chunk
    return latents + _DECODER_BYTES * decoder + 8 * per_chunk * min(num_chunks, _BATCH) + output


def too_many_latents(num_chunks: int, latent: int, num_weights: int) -> bool:
    """Whether a file of so many weights may not have so many latents."""
    return num_chunks * latent > _MAX_LATENTS + _MAX_LATENTS_PER_WEIGHT * num_weights


def over_limit(chunk: int, latent: int, hidden: int) -> bool:
    """Whether a network of these sizes is too large."""
    return max(chunk, latent, hidden) > _MAX_WIDTH or hidden * max(chunk, latent) > _MAX_LAYER
