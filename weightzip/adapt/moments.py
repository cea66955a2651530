"""Second moments of what each weight is multiplied with: H = E[x x'], by which an error of the weights becomes one of outputs.

    inputs --module--> aten operations --those with a weight of the checkpoint--> H [columns, columns] of each weight

Watching the operations instead of the layers finds linear, convolutional, recurrent, attention and embedding weights alike, in
modules of any kind.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from weightzip.adapt.network import Network
from weightzip.tasks import Batch

_MOST_COLUMNS = 4_096  # beyond them moments would take more time and memory than the weights are worth
_MOST_VECTORS = 4_096  # of one operation; more of them are thinned out
_aten = torch.ops.aten


@dataclass
class Moments:
    """total: sum of x x' [columns, columns]; or of how often each word occurs. sums: of x [columns]. count: of vectors x."""

    total: Tensor
    sums: Tensor
    count: int

    @property
    def mean(self) -> Tensor:
        """E[x], float64."""
        return self.sums / max(self.count, 1)

    @property
    def square(self) -> Tensor:
        """E[x x'], float64."""
        return self.total / max(self.count, 1)


def input_moments(network: Network, inputs: Sequence[Batch], source: str) -> dict[str, Moments]:
    """The moments of those of the checkpoint's matrices that the module multiplies inputs with, over some batches.

    A weight [outputs, columns...] has moments over its columns, taken as one axis. Weights of grouped convolutions, and of
    operations that are not known, have none.
    """
    weights = {key: tensor for key, tensor in network.module.named_parameters(remove_duplicate=False) if tensor.dim() > 1}
    watched = {tensor.data_ptr(): network.places[key].base for key, tensor in weights.items() if key in network.places}
    shapes = {network.places[key].base: tensor.shape for key, tensor in weights.items() if key in network.places}
    with torch.no_grad(), _plain_operations(), _Watch(watched, shapes) as watch:
        for batch in inputs:
            network.original_outputs(network.placed(batch), source)
    return dict(watch.found)


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Let recurrent nets and transformers compute by the plain operations, not by one for a whole layer."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():  # of hardware that this machine does not have
            warnings.simplefilter("ignore", UserWarning)
            with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the moments of all operations with one of the weights."""

    def __init__(self, watched: Mapping[int, str], shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watched, self._shapes = watched, shapes
        self._mixed: set[str] = set()
        self.found: dict[str, Moments] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None
    ) -> Any:
        for vectors, weight in _products(function, arguments):
            name = self._watched.get(weight.data_ptr())
            if name is not None and _is_whole_transposed(weight, self._shapes[name]):
                self._add(name, vectors)
        if function is _aten.convolution.default and (name := self._watched.get(arguments[1].data_ptr())) is not None:
            whole = arguments[1].shape == self._shapes[name] and self._shapes[name][1:].numel() <= _MOST_COLUMNS
            patches = _patches(*arguments) if whole else None
            if patches is not None:
                self._add(name, patches)
        if function is _aten.embedding.default and (name := self._watched.get(arguments[0].data_ptr())) is not None:
            self._count(name, arguments[1], len(arguments[0]))
        return function(*arguments, **(keywords or {}))

    def _add(self, name: str, vectors: Tensor) -> None:
        columns = vectors.shape[-1]
        if columns > _MOST_COLUMNS:
            return
        rows = _some(vectors.detach().reshape(-1, columns)).float()
        before = self.found.get(name)
        if before is not None and before.total.shape != (columns, columns):
            self._set_aside(name, before)
        if name in self._mixed:
            return
        nothing = rows.new_zeros((columns, columns), dtype=torch.float64)
        moments = self.found.setdefault(name, Moments(nothing, nothing[0].clone(), 0))
        moments.total += (rows.T @ rows).double()
        moments.sums += rows.sum(0).double()
        moments.count += len(rows)

    def _set_aside(self, name: str, before: Moments) -> None:
        """Drop what was seen of a weight in another use; two kinds of products have no moments in common."""
        del self.found[name]
        if before.total.dim() == 2:
            self._mixed.add(name)

    def _count(self, name: str, words: Tensor, size: int) -> None:
        if name in self._mixed or (name in self.found and self.found[name].total.dim() == 2):
            return  # an embedding that is a layer as well: products tell more
        counts = torch.bincount(words.reshape(-1), minlength=size).double()
        moments = self.found.setdefault(name, Moments(torch.zeros_like(counts), torch.zeros_like(counts), 0))
        moments.total += counts
        moments.count += words.numel()


def _is_whole_transposed(operand: Tensor, shape: torch.Size) -> bool:
    """Whether the second operand of a product is all of a weight of this shape, [outputs, columns], the other way round."""
    columns = shape[1:].numel()
    return operand.shape[-2:] == (columns, shape[0]) and operand.stride()[-2:] == (1, columns)


def _some(rows: Tensor) -> Tensor:
    """At most so many rows, chosen by chance, and the same ones each time."""
    if len(rows) <= _MOST_VECTORS:
        return rows
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_MOST_VECTORS]
    return rows[chosen.to(rows.device)]


def _products(function: Any, arguments: Sequence[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """(vectors, weight) of a matrix product, where the weight comes second."""
    if function is _aten.addmm.default or function is _aten.baddbmm.default:
        yield arguments[1], arguments[2]
    elif function is _aten.mm.default or function is _aten.bmm.default:
        yield arguments[0], arguments[1]


def _patches(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor | None:
    """What each output of a convolution sees, [n, columns]; None for one of other than one or two axes, or with groups."""
    if transposed or groups != 1 or weight.dim() not in (3, 4):
        return None
    if weight.dim() == 3:
        inputs, kernel = inputs.unsqueeze(2), (1, *weight.shape[2:])
        stride, padding, dilation = ((one, *of) for one, of in ((1, stride), (0, padding), (1, dilation)))
    else:
        kernel = tuple(weight.shape[2:])
    most = max(1, _MOST_VECTORS // max(1, inputs.shape[2] * inputs.shape[3] // 4))
    columns = functional.unfold(inputs[:most], kernel, tuple(dilation), tuple(padding), tuple(stride))  # [n, columns, places]
    return columns.transpose(1, 2)
