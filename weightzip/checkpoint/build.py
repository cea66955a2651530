"""From a tree to a Checkpoint and back.

tree --from_object--> Checkpoint: distinct tensors + layout --rebuild--> tree
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

from torch import Tensor, nn

from weightzip.checkpoint.aliases import Shared, View, apply_view, find
from weightzip.checkpoint.layout import (
    PARAMETER,
    PARAMETER_FROZEN,
    TENSOR,
    TENSOR_WITH_GRAD,
    Cursor,
    Format,
    Layout,
)
from weightzip.checkpoint.models import common_prefix, keys_in_model, main_containers, unique_names, weight_containers
from weightzip.checkpoint.places import TreePath, tensors_in
from weightzip.checkpoint.places import join as join_path
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.tree import TreeDecoder, TreeEncoder
from weightzip.errors import CheckpointError, FormatError
from weightzip.interface import JSON


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, taken apart.

    tensors: the distinct stored tensors, contiguous, on the CPU, detached, in their source dtype and order. Names are
        unique: for tensors of the model's state dict their keys without the common prefix, for others their paths.
        They may share memory with the source: do not write to them.
    weights: the names of those that are a model's weights; only these may be coded lossily.
    layout: everything else that a faithful restore needs.
    """

    tensors: dict[str, Tensor]
    weights: frozenset[str]
    layout: Layout


@no_warnings()
def from_object(obj: object, name: str = "model.pt") -> Checkpoint:
    """Take a module, a state dict or any tree of them apart; it is left as it is. `name` stands for its file's name.

    Raises UnsupportedCheckpointError, naming the place, for what cannot be stored, CheckpointError where there is no
    tensor at all.
    """
    return take_apart(obj.state_dict() if isinstance(obj, nn.Module) else obj, "torch", name)


def take_apart(root: object, fmt: Format, name: str, metadata: Mapping[str, str] | None = None) -> Checkpoint:
    """`from_object` for a tree that was read from a file of format `fmt`."""
    places = tensors_in(root)
    if not places:
        raise CheckpointError("there is no tensor in it")
    paths = [path for path, _ in places]
    shared = find([tensor for _, tensor in places])
    containers = weight_containers(root)
    model = main_containers(containers)
    keys = keys_in_model(paths, model)
    prefix = common_prefix([key for key in keys if key is not None])
    names = _names(paths, keys, prefix, shared)
    layout = Layout(
        format=fmt,
        source_name=PurePath(name).name,
        tree=_tree(root, names, shared),
        views=_odd_views(shared),
        kinds=_kinds([tensor for _, tensor in places]),
        model=model,
        prefix=prefix,
        metadata=metadata,
    )
    members = frozenset(containers)
    weights = {names[view.base] for path, view in zip(paths, shared.views, strict=True) if path[:-1] in members}
    return Checkpoint(dict(zip(names, shared.bases, strict=True)), frozenset(weights), layout)


@no_warnings()
def rebuild(layout: Layout, tensors: Mapping[str, Tensor]) -> object:
    """The tree that `layout` was taken from: keys, order, types, aliases (as views of one storage), Parameters.

    tensors: in the order of `Checkpoint.tensors`. Contiguous ones with a memory of their own are used, not copied.
    Raises FormatError where tensors and layout do not fit.
    """
    source = _Tensors(layout, tensors)
    tree = TreeDecoder(source).decode(["state", len(tensors)] if layout.tree is None else layout.tree)
    source.finish()
    return tree


def state_dict(layout: Layout, tensors: Mapping[str, Tensor], *, strip_prefix: bool = False) -> dict[str, Tensor]:
    """The model's own state dict: keys in the source's order, aliases restored.

    tensors: as for `rebuild`. strip_prefix: without the "module." that all keys have in common, if they have.
    Raises FormatError where tensors and layout do not fit.
    """
    places = tensors_in(rebuild(layout, tensors))
    keys = keys_in_model([path for path, _ in places], layout.model)
    found = [(key, tensor) for key, (_, tensor) in zip(keys, places, strict=True) if key is not None]
    prefix = layout.prefix if strip_prefix else ""
    names = unique_names(key.removeprefix(prefix) for key, _ in found)
    return {name: tensor for name, (_, tensor) in zip(names, found, strict=True)}


class _Tensors:
    """Hands out the tensors of a layout one after the other, each as what it was: a view, a Parameter, or itself."""

    def __init__(self, layout: Layout, tensors: Mapping[str, Tensor]) -> None:
        self._names = list(tensors)
        self._bases = [_own(tensor) for tensor in tensors.values()]
        self._cursor = Cursor(layout.views)
        self._kinds = [kind for kind, run in layout.kinds for _ in range(run)]

    def take(self, skip: int) -> tuple[str | None, Tensor]:
        kind = self._kinds[self._cursor.num_met] if self._cursor.num_met < len(self._kinds) else TENSOR
        view, fresh = self._cursor.step()
        if view.base >= len(self._bases):
            raise FormatError(f"layout: more tensors than the {len(self._bases)} that are there")
        tensor = _as_kind(apply_view(self._bases[view.base], view), kind)
        return (self._names[view.base][skip:] if fresh else None), tensor

    def finish(self) -> None:
        """Raise FormatError if a tensor or a view is left over."""
        self._cursor.finish()
        if self._cursor.num_distinct != len(self._bases):
            raise FormatError(f"layout: {self._cursor.num_distinct} tensors where there are {len(self._bases)}")


def _own(tensor: Tensor) -> Tensor:
    """The tensor in a memory of its own, so that no file written from it holds more than it."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor.detach() if alone else tensor.detach().clone().contiguous()


def _as_kind(tensor: Tensor, kind: int) -> Tensor:
    try:
        if kind in (PARAMETER, PARAMETER_FROZEN):
            return nn.Parameter(tensor, requires_grad=kind == PARAMETER)
        return tensor.detach().requires_grad_(kind == TENSOR_WITH_GRAD)
    except RuntimeError as error:
        raise FormatError(f"layout: a tensor of {tensor.dtype} cannot be what it says: {error}") from error


def _kind_of(tensor: Tensor) -> int:
    if isinstance(tensor, nn.Parameter):
        return PARAMETER if tensor.requires_grad else PARAMETER_FROZEN
    return TENSOR_WITH_GRAD if tensor.requires_grad else TENSOR


def _kinds(tensors: list[Tensor]) -> tuple[tuple[int, int], ...]:
    runs = [(kind, len(list(run))) for kind, run in groupby(map(_kind_of, tensors))]
    return tuple(runs[:-1] if runs[-1][0] == TENSOR else runs)


def _names(paths: list[TreePath], keys: list[str | None], prefix: str, shared: Shared) -> list[str]:
    """The name of each distinct tensor."""

    def name(index: int) -> str:
        key = keys[index]
        return join_path(paths[index]) if key is None else key.removeprefix(prefix)

    return unique_names(name(owner) for owner in shared.owners)


def _tree(root: object, names: list[str], shared: Shared) -> JSON:
    met: set[int] = set()
    first: list[str | None] = []
    for view in shared.views:
        first.append(None if view.base in met else names[view.base])
        met.add(view.base)
    tree = TreeEncoder(first).encode(root)
    return None if tree == ["state", len(names)] and not _odd_views(shared) else tree


def _odd_views(shared: Shared) -> tuple[tuple[int, View], ...]:
    """The views of all tensors that are not simply the next distinct one."""
    odd = []
    num_met = 0
    for index, view in enumerate(shared.views):
        if view.base != num_met or view.window is not None:
            odd.append((index, view))
        num_met += view.base == num_met
    return tuple(odd)
