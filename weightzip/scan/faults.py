"""What may befall a checkpoint, done on purpose to a copy of it, so that detectors can be chosen and measured.

    tensors, which blocks, how --damage--> damaged tensors

Every kind of fault leaves all other blocks as they are, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from weightzip.scan.ranges import SIZE, Ranges

Fault = Literal["bit_flips", "sign_flips", "noise", "zeros", "swapped", "foreign"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
CLEAN = -1
FLIPPED_BITS = 4
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64, 1: torch.uint8}  # by the bytes of an element


@dataclass(frozen=True)
class Damaged:
    """A damaged copy. tensors: those that were damaged are copies. labels: int64 [n], an index into FAULTS, or CLEAN."""

    tensors: dict[str, Tensor]
    labels: Tensor


def inject(tensors: Mapping[str, Tensor], foreign: Mapping[str, Tensor], *, share: float, seed: int) -> Damaged:
    """Damage a share of all blocks, the kinds of fault in equal shares, at least one block of each where there are so many.

    foreign: the tensors of another model. Where there is a single tensor, "swapped" takes a block of its own from elsewhere.
    """
    ranges, generator = Ranges.of(tensors), torch.Generator().manual_seed(seed)
    each = max(1, round(share * len(ranges) / len(FAULTS)))
    chosen = torch.randperm(len(ranges), generator=generator)[: each * len(FAULTS)]
    labels = torch.full((len(ranges),), CLEAN, dtype=torch.int64)
    labels[chosen] = torch.arange(len(chosen)) % len(FAULTS)
    return damage(tensors, labels, foreign, generator)


def damage(tensors: Mapping[str, Tensor], labels: Tensor, foreign: Mapping[str, Tensor], generator: torch.Generator) -> Damaged:
    """Damage every block as its label [n] says."""
    ranges = Ranges.of(tensors)
    hurt = torch.unique(ranges.tensor[labels != CLEAN]).tolist()
    copies = {ranges.names[number]: tensors[ranges.names[number]].detach().clone().contiguous() for number in hurt}
    for block in torch.nonzero(labels != CLEAN).flatten().tolist():
        name = ranges.names[int(ranges.tensor[block])]
        part = copies[name].view(-1)[int(ranges.start[block]) : int(ranges.end[block])]
        donors = (
            foreign if FAULTS[int(labels[block])] == "foreign" else {key: tensors[key] for key in ranges.names if key != name}
        )
        case = _Case(part, tensors[name], donors or tensors, generator)
        part.copy_(_DAMAGES[FAULTS[int(labels[block])]](case))
    return Damaged({**tensors, **copies}, labels)


def untrained(tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A model of the same shapes as torch initialises one, uniform within 1 / sqrt(inputs); foreign where none is given."""
    generator = torch.Generator().manual_seed(seed)
    fresh = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            bound = max(1, tensor[0].numel() if tensor.dim() > 1 else tensor.numel()) ** -0.5
            fresh[name] = torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator).to(tensor.dtype)
    return fresh


@dataclass(frozen=True)
class _Case:
    """A block to be damaged. part: its elements [up to SIZE]. tensor: where it lies. donors: tensors that lend other blocks."""

    part: Tensor
    tensor: Tensor
    donors: Mapping[str, Tensor]
    generator: torch.Generator


def _flip_bits(case: _Case) -> Tensor:
    """Random bits of the stored numbers."""
    bytes_each = case.part.element_size()
    flipped = case.part.clone().view(_BITS[bytes_each])
    for place in torch.randperm(len(flipped) * 8 * bytes_each, generator=case.generator)[:FLIPPED_BITS].tolist():
        element, bit = divmod(place, 8 * bytes_each)
        signed = (1 << bit) - (1 << 8 * bytes_each) * (bit == 8 * bytes_each - 1 and bytes_each > 1)  # as two's complement
        flipped[element] ^= signed
    return flipped.view(case.part.dtype)


def _flip_signs(case: _Case) -> Tensor:
    """Each sign with probability a half."""
    turned = torch.rand(len(case.part), generator=case.generator) < 0.5
    values = case.part.double()  # as the smallest dtypes know no arithmetic
    return torch.where(turned, -values, values).to(case.part.dtype)


def _noise(case: _Case) -> Tensor:
    """Gaussian, of the mean and the deviation of the tensor."""
    whole = case.tensor.double()
    deviation = whole.std(correction=0)
    return (whole.mean() + deviation * torch.randn(len(case.part), generator=case.generator, dtype=torch.float64)).to(
        case.part.dtype
    )


def _zeros(case: _Case) -> Tensor:
    return torch.zeros_like(case.part)


def _other_block(case: _Case) -> Tensor:
    """As many successive elements of another tensor, each block of them all being as likely."""
    names = [name for name, tensor in case.donors.items() if tensor.is_floating_point() and tensor.numel()]
    sizes = torch.tensor([case.donors[name].numel() for name in names], dtype=torch.float64)
    donor = case.donors[names[int(torch.multinomial(sizes, 1, generator=case.generator))]]
    start = int(torch.randint(0, max(1, donor.numel() - SIZE + 1), (1,), generator=case.generator))
    taken = donor.reshape(-1)[start : start + len(case.part)]
    return taken.repeat(-(-len(case.part) // len(taken)))[: len(case.part)].to(case.part.dtype)


_DAMAGES: Mapping[Fault, Callable[[_Case], Tensor]] = {
    "bit_flips": _flip_bits,
    "sign_flips": _flip_signs,
    "noise": _noise,
    "zeros": _zeros,
    "swapped": _other_block,
    "foreign": _other_block,
}
