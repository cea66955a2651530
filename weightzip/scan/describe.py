"""From tensors to blocks of figures that all detectors see.

tensors --difference from an earlier checkpoint, if there is one--> --features--> --standardised within each tensor--> Scanned
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.scan.elements import bend, in_blocks
from weightzip.scan.features import features
from weightzip.scan.ranges import Ranges
from weightzip.vae import Blocks

_ENOUGH = 32  # blocks; a tensor of fewer is judged together with the other small ones of its kind
_PRIOR = 16.0  # as many blocks' worth of the whole model's spread is mixed into that of a group
_FEW_CHANGED = 0.05  # share of a tensor's blocks, or of a checkpoint's, below which a change by itself is unusual
_NARROWEST = 0.01  # the deviation of a group, at least, relative to that of all blocks
_GAUSSIAN = 1.4826  # the deviation of a Gaussian by its median absolute deviation
_TAIL, _GAUSSIAN_TAIL = 0.9, 1.645  # where nine tenths of a Gaussian's deviations end


@dataclass(frozen=True)
class Scanned:
    """All blocks of a checkpoint, in order.

    blocks: the features, standardised; their `tensor` is the number of a group: a tensor, or all small ones of a kind.
    hopeless: bool [n], blocks with elements that are not finite. unchanged: bool [n], those just as in the earlier checkpoint.
    typical: bool [n], those that tell what is usual in their group.
    """

    ranges: Ranges
    blocks: Blocks
    hopeless: Tensor
    unchanged: Tensor
    typical: Tensor

    def __len__(self) -> int:
        return len(self.ranges)


@dataclass(frozen=True)
class Groups:
    """Which tensors are judged together: number by name."""

    numbers: Mapping[str, int]

    @staticmethod
    def of(ranges: Ranges) -> Groups:
        """Large tensors each by itself, small ones by kind; numbers from zero in the order of the tensors."""
        counts = torch.bincount(ranges.tensor, minlength=len(ranges.names)).tolist()
        kinds = dict(zip(ranges.tensor.tolist(), ranges.kinds().tolist(), strict=True))
        keys = [name if counts[at] >= _ENOUGH else kinds[at] for at, name in enumerate(ranges.names)]
        order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return Groups({name: order[key] for name, key in zip(ranges.names, keys, strict=True)})

    def of_blocks(self, ranges: Ranges) -> Tensor:
        """The number of each block's group, int64 [n]."""
        return torch.tensor([self.numbers[name] for name in ranges.names], dtype=torch.int64)[ranges.tensor]


def describe(
    tensors: Mapping[str, Tensor], earlier: Mapping[str, Tensor] | None = None, groups: Groups | None = None
) -> Scanned:
    """The blocks of all floating-point tensors; with an earlier checkpoint of the same tensors, those of the differences.

    groups: by default those of these tensors.
    """
    ranges = Ranges.of(tensors)
    numbers = (groups or Groups.of(ranges)).of_blocks(ranges)
    rows, hopeless, unchanged = [], [], []
    for name in ranges.names:
        tensor = tensors[name].detach().double()
        changes = tensor if earlier is None else tensor - earlier[name].detach().double()
        rows.append(features(changes))
        hopeless.append(~in_blocks(torch.isfinite(tensor)).all(1))
        unchanged.append((in_blocks(changes) == 0).all(1) & (earlier is not None))
    same, lost = torch.cat(unchanged), torch.cat(hopeless)
    typical = _typical(same, lost, numbers)
    values = bend(standardised(torch.cat(rows), numbers, typical))
    return Scanned(ranges, Blocks(values, numbers, ranges.kinds()), lost, same, typical)


def standardised(figures: Tensor, groups: Tensor, typical: Tensor, *, least: float = 1e-3) -> Tensor:
    """Figures [n, any] less the median of their group [n], divided by its robust deviation.

    typical: bool [n], the blocks that medians and deviations are taken of. The deviation of a small group is drawn towards that
    of all. least: the smallest deviation there is.
    """
    whole = figures[typical]
    overall = _spread(whole, whole.median(0)[0]).clamp_min(least)
    result = torch.empty_like(figures)
    for number in torch.unique(groups).tolist():
        members = groups == number
        known = figures[members & typical]
        middle = known.median(0)[0]
        share = len(known) / (len(known) + _PRIOR)
        scale = (share * _spread(known, middle).square() + (1 - share) * overall.square()).sqrt()
        result[members] = (figures[members] - middle) / torch.maximum(scale, _NARROWEST * overall).clamp_min(least)
    return result


def _spread(figures: Tensor, middle: Tensor) -> Tensor:
    """The deviation of each column, by its bulk or by the end of nine tenths of it, whichever says more."""
    distance = (figures - middle).abs().sort(0)[0]
    bulk, tail = distance[len(distance) // 2], distance[min(len(distance) - 1, int(_TAIL * len(distance)))]
    return torch.maximum(_GAUSSIAN * bulk, tail / _GAUSSIAN_TAIL)


def _typical(unchanged: Tensor, hopeless: Tensor, groups: Tensor) -> Tensor:
    """The blocks of each group that changed, where that is usual; all of it where hardly any did, so that a change is odd."""
    changed = ~unchanged & ~hopeless
    if float(changed.float().mean()) < _FEW_CHANGED:
        changed = ~hopeless
    for number in torch.unique(groups).tolist():
        members = groups == number
        if float(changed[members].float().mean()) < _FEW_CHANGED:
            changed |= members & ~hopeless
        if not bool(changed[members].any()):
            changed |= members  # of nothing but what is not finite, nothing is usual
    return changed
