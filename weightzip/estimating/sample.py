"""A small part of a checkpoint that stands for the whole: some of the tensors alike, and of very large ones runs of rows.

    tensors of one shape, dtype and treatment --every so many-th--> whole tensors --runs of rows of large ones--> sample

Tensors are taken whole where they can be, since what a transform saves and costs depends on the shape. Those that are not in
the sample go by those that are, in proportion to their elements and to the bits that an element of their deviation takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint

_SMALL = 1 << 12  # elements of a tensor that is taken in any case, as long as there are few of them
_FEWEST, _MOST = 3, 512  # tensors of a group; small ones, and there are few
_RUNS = 8  # of rows
_FEW_ROWS = 4 * _RUNS  # of which no runs are taken; columns are
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Budget:
    """group: elements after which tensors alike are known well enough. tensor: elements of the largest one taken whole."""

    group: int
    tensor: int


THOROUGH = Budget(1 << 20, 1 << 22)
QUICK = Budget(1 << 18, 1 << 20)


@dataclass(frozen=True)
class Group:
    """Tensors alike: all of their names, and those that are in the sample."""

    names: tuple[str, ...]
    chosen: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """checkpoint: of the chosen tensors, as much as is looked at of each. groups: all tensors of the whole, each in one."""

    checkpoint: Checkpoint
    groups: tuple[Group, ...]


def sample_of(checkpoint: Checkpoint, lossy: Mapping[str, object], budget: Budget) -> Sample:
    """The same for the same checkpoint. lossy: the names of the tensors that a lossy codec may touch."""
    least = _SMALL if sum(tensor.numel() <= _SMALL for tensor in checkpoint.tensors.values()) <= _MOST else 0
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in checkpoint.tensors.items():
        kind = tuple(tensor.shape) if tensor.numel() > least else name
        alike.setdefault((kind, tensor.dtype, name in lossy), []).append(name)
    sizes = {name: min(tensor.numel(), budget.tensor) for name, tensor in checkpoint.tensors.items()}
    groups = tuple(Group(tuple(names), _chosen(names, sizes[names[0]], budget.group)) for names in alike.values())
    chosen = {name for group in groups for name in group.chosen}
    tensors = {
        name: rows_of(tensor, budget.tensor).contiguous() for name, tensor in checkpoint.tensors.items() if name in chosen
    }
    return Sample(replace(checkpoint, tensors=tensors, weights=frozenset(lossy) & chosen, mapped=False), groups)


def _chosen(names: Sequence[str], size: int, enough: int) -> tuple[str, ...]:
    """So many of the names that they have enough elements, spread over all of them, whatever pattern they come in."""
    count = min(len(names), _MOST, max(_FEWEST, math.ceil(enough / max(size, 1))))
    order = sorted(range(len(names)), key=lambda number: number * _GOLDEN % 1.0)
    return tuple(names[number] for number in sorted(order[:count]))


def rows_of(tensor: Tensor, most: int) -> Tensor:
    """At most so many elements: all of them, or a few runs of rows, evenly spread.

    >>> rows_of(torch.arange(1000).reshape(100, 10), 160)[:, 0].tolist()
    [0, 10, 140, 150, 280, 290, 420, 430, 560, 570, 700, 710, 840, 850, 980, 990]
    """
    if tensor.numel() <= most:
        return tensor
    axis = 0 if len(tensor) >= _FEW_ROWS else max(range(tensor.dim()), key=lambda number: tensor.shape[number])
    length = tensor.shape[axis]
    run = max(1, most * length // tensor.numel() // _RUNS)
    starts = [number * (length - run) // (_RUNS - 1) for number in range(_RUNS)]
    return torch.cat([tensor.narrow(axis, start, run) for start in starts], axis)
