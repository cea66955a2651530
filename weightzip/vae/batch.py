"""Blocks with what is known of each, and how batches of them are drawn.

    blocks [n, size], of each: tensor, kind --lanes--> [m, frames] --batch--> blocks [m * frames, size]

A lane is a run of successive blocks of one tensor, for the families that look at what stands before a block; for all others
it is a single block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightzip.vae.perturb import perturb

UNKNOWN = -1  # in the place of a kind


@dataclass(frozen=True)
class Batch:
    """What a family sees at a time. frames: blocks of a lane, which follow each other.

    blocks: float32 [n, size]. present: bool [n], False for what fills up the end of a lane. tensor: int64 [n], the number of
    the tensor that a block comes from. kind: int64 [n], an index into
    `weightzip.blocks.kinds.KINDS`, or UNKNOWN.
    """

    blocks: Tensor
    present: Tensor
    tensor: Tensor
    kind: Tensor
    frames: int = 1

    def with_blocks(self, blocks: Tensor) -> Batch:
        """The same with other numbers in its blocks."""
        return replace(self, blocks=blocks)


@dataclass(frozen=True)
class Blocks:
    """All blocks of a model, in order: values float32 [n, size]; tensor, kind: int64 [n], as in `Batch`."""

    values: Tensor
    tensor: Tensor
    kind: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @staticmethod
    def alike(values: Tensor) -> Blocks:
        """Blocks [n, size] of one tensor, of a kind unknown."""
        nothing = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        return Blocks(values, nothing, nothing + UNKNOWN)

    @property
    def num_tensors(self) -> int:
        """One more than the largest number of a tensor."""
        return int(self.tensor.max()) + 1 if len(self) else 1

    def to(self, device: torch.device) -> Blocks:
        """The same on another device."""
        return Blocks(self.values.to(device), self.tensor.to(device), self.kind.to(device))

    def double(self) -> Blocks:
        """The same in double precision."""
        return Blocks(self.values.double(), self.tensor, self.kind)

    def lanes(self, frames: int) -> Tensor:
        """Int64 [m, frames]: the numbers of the blocks of each lane; -1 behind the last block of a tensor.

        >>> Blocks(torch.zeros(5, 2), torch.tensor([0, 0, 0, 1, 1]), torch.zeros(5).long()).lanes(2).tolist()
        [[0, 1], [2, -1], [3, 4]]
        """
        numbers = torch.arange(len(self), device=self.values.device)
        if frames == 1:
            return numbers[:, None]
        _, sizes = torch.unique_consecutive(self.tensor, return_counts=True)
        lanes = [
            torch.nn.functional.pad(part, (0, -len(part) % frames), value=-1).view(-1, frames)
            for part in torch.split(numbers, sizes.tolist())
        ]
        return torch.cat(lanes) if lanes else numbers.view(0, frames)

    def batch(self, lanes: Tensor) -> Batch:
        """The blocks of lanes [m, frames]; zeros for those that are not there."""
        flat = lanes.reshape(-1)
        present, numbers = flat >= 0, flat.clamp_min(0)
        blocks = self.values[numbers]
        if lanes.shape[1] > 1:
            blocks = blocks * present[:, None]
        return Batch(blocks, present, self.tensor[numbers], self.kind[numbers], lanes.shape[1])

    def in_order(self, frames: int, batch_size: int) -> Iterator[tuple[Tensor, Batch]]:
        """Every block once: the numbers [n] of those present, and their batch, of about `batch_size` blocks."""
        for lanes in torch.split(self.lanes(frames), max(1, batch_size // frames)):
            flat = lanes.reshape(-1)
            yield flat[flat >= 0], self.batch(lanes)

    def perturbed(
        self, *, frames: int, copies: int, batch_size: int, noise: float, noisy_fraction: float, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Every lane of `copies` perturbed copies once, shuffled, `batch_size` lanes at a time.

        The copies are drawn as they are used, so their number costs time but no memory, and each epoch sees new ones.
        """
        lanes = self.lanes(frames)
        order = torch.randperm(copies * len(lanes), generator=generator, device=lanes.device) % len(lanes)
        for members in torch.split(order, batch_size):
            batch = self.batch(lanes[members])
            yield batch.with_blocks(perturb(batch.blocks, noise=noise, noisy_fraction=noisy_fraction, generator=generator))
