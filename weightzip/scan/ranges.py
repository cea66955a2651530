"""Where blocks lie: runs of 64 successive elements of one tensor, in the checkpoint's order.

tensors --Ranges.of--> numbers of tensor, start and end of every block; no element is in two blocks or in none
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.blocks.kinds import KINDS, kind_of

SIZE = 64  # elements of a block


@dataclass(frozen=True)
class Ranges:
    """The blocks of tensors: tensor, start, end: int64 [n]; the elements start to end - 1 of that tensor, flattened.

    names, shapes: of the floating-point tensors that have elements, in order.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    tensor: Tensor
    start: Tensor
    end: Tensor

    def __len__(self) -> int:
        return len(self.tensor)

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Ranges:
        """Of all floating-point tensors.

        >>> ranges = Ranges.of({"w": torch.zeros(10, 10), "steps": torch.tensor(7)})
        >>> ranges.names, ranges.start.tolist(), ranges.end.tolist()
        (('w',), [0, 64], [64, 100])
        """
        scanned = {name: tensor for name, tensor in tensors.items() if is_scannable(tensor)}
        counts = torch.tensor([tensor.numel() for tensor in scanned.values()], dtype=torch.int64)
        blocks = (counts + SIZE - 1) // SIZE  # [tensors]
        numbers = torch.repeat_interleave(torch.arange(len(counts)), blocks)  # [n]
        first = torch.cumsum(blocks, 0) - blocks
        start = (torch.arange(len(numbers)) - first[numbers]) * SIZE
        end = torch.minimum(start + SIZE, counts[numbers])
        return Ranges(tuple(scanned), tuple(tuple(tensor.shape) for tensor in scanned.values()), numbers, start, end)

    def kinds(self) -> Tensor:
        """Int64 [n]: what kind of tensor each block is of, an index into KINDS."""
        pairs = zip(self.names, self.shapes, strict=True)
        kinds = torch.tensor([KINDS.index(kind_of(name, shape)) for name, shape in pairs], dtype=torch.int64)
        return kinds[self.tensor]


def is_scannable(tensor: Tensor) -> bool:
    """Whether a tensor has floating-point elements that torch can compute with; two of float4 share a byte."""
    return tensor.is_floating_point() and tensor.numel() > 0 and tensor.dtype != torch.float4_e2m1fn_x2


def as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    """A tensor as [rows, columns]: its axes parted where that comes nearest to a square.

    >>> as_matrix((16, 128, 64, 1)), as_matrix((10,))
    ((2048, 64), (1, 10))
    """
    total = math.prod(shape)
    splits = [math.prod(shape[:axes]) for axes in range(1, len(shape))]
    rows = min(splits, key=lambda rows: abs(math.log(rows * rows / total)), default=1)
    return rows, total // rows
