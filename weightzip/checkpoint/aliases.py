"""Tensors that share memory: each piece of memory is stored once, and comes back shared.

    tensors --find--> bases (stored) + one View per tensor --apply_view--> tensors

Only tensors that really have elements in common are joined. Slices of one buffer that merely lie side by side stay
separate tensors with their own shapes, because a codec sees more in a matrix than in a flat range of a buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weightzip.errors import FormatError


@dataclass(frozen=True)
class View:
    """One tensor as a part of a base: the base itself (window None), or a strided window on its elements.

    base: index of the base.
    window: (shape, stride, offset), in elements of the contiguous base.
    """

    base: int
    window: tuple[tuple[int, ...], tuple[int, ...], int] | None = None


@dataclass(frozen=True)
class Shared:
    """What `find` found.

    bases: CPU tensors that have each element once, in the order in which their first view occurs; strided as in the source.
    owners: for each base the index of the tensor that names it: the one that is the base itself, else its first view.
    views: for each tensor how it is made from its base.
    """

    bases: list[Tensor]
    owners: list[int]
    views: list[View]


@dataclass(frozen=True)
class _Span:
    """Where a tensor's elements lie in its storage, in elements; the stride of an axis of length 1 is set to 0."""

    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    @property
    def num_elements(self) -> int:
        return torch.Size(self.shape).numel()

    @property
    def may_repeat(self) -> bool:
        """Whether an element may appear twice, as in expanded tensors and sliding windows.

        Surely none does where each step leaps over all that the smaller steps can reach.
        """
        if 0 in self.shape:
            return False
        reach = 0
        for step, size in sorted(zip(self.stride, self.shape, strict=True)):
            if size > 1 and step <= reach:
                return True
            reach += (size - 1) * step
        return False

    def on(self, flat: Tensor, origin: int) -> Tensor:
        """The part of `flat` (storage elements from `origin` on) that this span covers; expanded axes have length 1."""
        shape = [1 if step == 0 else size for size, step in zip(self.shape, self.stride, strict=True)]
        return flat.as_strided(shape, self.stride, self.start - origin)


def find(tensors: Sequence[Tensor]) -> Shared:
    """Find the distinct pieces of memory behind dense tensors, which are left as they are.

    Bases are views of the source's memory, if that is on the CPU. Only of tensors that overlap, none of which covers the
    others, and of one that has an element twice, there are copies, which stay in memory.
    Tensors of different dtypes on one storage are not joined.
    """
    plain = [tensor.detach().resolve_conj().resolve_neg() for tensor in tensors]
    groups = sorted(group for storage in _by_storage(plain) for group in _overlapping(storage, plain))
    bases: list[Tensor] = []
    owners: list[int] = []
    views = [View(0)] * len(plain)
    for number, group in enumerate(groups):
        base, origin, owner = _base(group, plain)
        bases.append(base)
        owners.append(owner if owner is not None else group[0])
        for index in group:
            span = _span(plain[index])
            whole = owner is not None and span == _span(plain[owner])
            views[index] = View(number, None if whole else (span.shape, span.stride, span.start - origin))
    return Shared(bases, owners, views)


def check_view(num_elements: int, view: View) -> None:
    """Raise FormatError where the window of `view` does not fit a base of `num_elements`."""
    if view.window is None:
        return
    shape, stride, offset = view.window
    if 0 in shape or _Span(offset, shape, stride).stop > num_elements:
        raise FormatError(f"a view of shape {list(shape)} does not fit its tensor of {num_elements} elements")


def apply_view(base: Tensor, view: View) -> Tensor:
    """The tensor that `view` describes, in the memory of the contiguous `base`.

    Raises FormatError where the window does not fit the base.
    """
    check_view(base.numel(), view)
    if view.window is None:
        return base
    shape, stride, offset = view.window
    try:
        return base.as_strided(shape, stride, base.storage_offset() + offset)
    except (RuntimeError, OverflowError) as error:
        raise FormatError(f"a view of shape {list(shape)} is not possible: {error}") from error


def _span(tensor: Tensor) -> _Span:
    stride = tuple(0 if size == 1 else step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return _Span(int(tensor.storage_offset()), tuple(tensor.shape), stride)


def _by_storage(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Indices of the tensors on each storage; an empty tensor shares with nobody."""
    storages: dict[object, list[int]] = {}
    for index, tensor in enumerate(tensors):
        place = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.dtype)
        storages.setdefault(place if tensor.numel() else index, []).append(index)
    return list(storages.values())


def _overlapping(members: list[int], tensors: Sequence[Tensor]) -> list[list[int]]:
    """Split the members of one storage into groups that have elements in common, each in ascending order."""
    if len(members) == 1:
        return [members]
    by_span: dict[_Span, list[int]] = {}
    for index in members:
        by_span.setdefault(_span(tensors[index]), []).append(index)
    cluster: list[_Span] = []
    joined: list[list[_Span]] = []
    stop = 0
    for span in sorted(by_span, key=lambda span: span.start):
        if cluster and span.start >= stop:
            joined += _split(cluster)
            cluster = []
        cluster.append(span)
        stop = max(stop, span.stop)
    joined += _split(cluster)
    return [sorted(index for span in spans for index in by_span[span]) for spans in joined]


def _split(spans: list[_Span]) -> list[list[_Span]]:
    """Split spans whose ranges overlap into groups that share elements: interleaved columns, say, share none."""
    start, stop = min(span.start for span in spans), max(span.stop for span in spans)
    if len(spans) == 1 or any(_is_run(span) and span.num_elements == stop - start for span in spans):
        return [spans]  # alone, or one of them covers the whole range
    labels = torch.zeros(stop - start, dtype=torch.int32)  # which group has painted each element; 0: none
    groups: dict[int, list[_Span]] = {}
    for number, span in enumerate(spans, 1):
        painted = span.on(labels, start)
        met = {label for label in torch.unique(painted).tolist() if label}
        groups[number] = [*(other for label in met for other in groups.pop(label)), span]
        for other in groups[number]:
            other.on(labels, start).fill_(number)
    return list(groups.values())


def _is_run(span: _Span) -> bool:
    """Whether the span's elements are one contiguous run in row-major order."""
    expected = 1
    for size, step in zip(reversed(span.shape), reversed(span.stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def _base(group: list[int], tensors: Sequence[Tensor]) -> tuple[Tensor, int, int | None]:
    """The base of a group: (tensor, storage offset of its first element, the member that it equals or None).

    A member that covers the whole range contiguously is the base, with its own shape; so is one that stands alone, whatever
    its strides. Otherwise the base is the flat range; elements in it that no member has are zero.
    """
    spans = [_span(tensors[index]) for index in group]
    start, stop = min(span.start for span in spans), max(span.stop for span in spans)
    for index, span in zip(group, spans, strict=True):
        if _is_run(span) and span.num_elements == stop - start:
            return tensors[index].cpu(), start, index
    if len(set(spans)) == 1 and not spans[0].may_repeat:
        return tensors[group[0]].cpu(), start, group[0]
    flat = torch.empty(stop - start, dtype=tensors[group[0]].dtype)
    flat.view(torch.uint8).zero_()
    for index, span in zip(group, spans, strict=True):
        target = span.on(flat, start)
        target.copy_(tensors[index].as_strided(target.shape, span.stride, span.start))
    return flat, start, None


def dense(tensor: Tensor) -> Tensor:
    """The tensor, contiguous, a copy only where it has to be one.

    An axis of length 1 may have any stride, which torch then trips over when it is to view the values as bytes.
    """
    dense = tensor.contiguous()
    usual = torch.empty(dense.shape, device="meta").stride()
    return dense if dense.stride() == usual else dense.as_strided(dense.shape, usual)
