"""Zero-padded chunks of one long sequence: the blocks of Cheng et al. 2024, section 3.

tensors --flatten, in order--> sequence --cut--> chunks [num_chunks, chunk_size], the last one zero-padded
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.errors import FormatError
from weightzip.interface import TensorSpec


@dataclass(frozen=True)
class Chunks:
    """values: float32 [num_chunks, chunk_size]; padding: how many zeros end the last chunk."""

    values: Tensor
    padding: int

    def standardisation(self) -> tuple[float, float]:
        """Mean and deviation of all weights, with five digits: short to store, and what an encoder itself computes with."""
        weights = self.values.reshape(-1)[: self.values.numel() - self.padding].double()
        return float(f"{float(weights.mean()):.4e}"), float(f"{float(weights.std(correction=0)):.4e}") or 1.0


def cut(tensors: Mapping[str, Tensor], chunk_size: int) -> Chunks:
    """Flatten all tensors in order into one sequence and cut it into chunks.

    >>> chunks = cut({"a": torch.ones(2, 2), "b": torch.ones(1)}, chunk_size=4)
    >>> chunks.values.tolist(), chunks.padding
    ([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]], 3)
    """
    parts = [tensor.reshape(-1).float() for tensor in tensors.values()]
    sequence = torch.cat(parts) if parts else torch.zeros(0)  # [num_weights]
    padding = -sequence.numel() % chunk_size
    padded = torch.nn.functional.pad(sequence, (0, padding))
    return Chunks(padded.reshape(-1, chunk_size), padding)


def paste(chunks: Chunks, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """The tensors of these shapes, in order, out of their chunks. Raises FormatError where they do not fill them."""
    num_weights = chunks.values.numel() - chunks.padding
    sizes = [spec.num_elements for spec in specs]
    if num_weights != sum(sizes):
        raise FormatError(f"the chunks hold {num_weights:,} weights, but the tensors have {sum(sizes):,}")
    sequence = chunks.values.reshape(-1)[:num_weights]
    return {spec.name: part.reshape(spec.shape).clone() for spec, part in zip(specs, torch.split(sequence, sizes), strict=True)}
