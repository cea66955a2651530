"""From a tree to a Checkpoint and back.

tree --from_object--> Checkpoint: distinct tensors + layout --rebuild--> tree
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any, TypeVar

from torch import Tensor, nn

from weightzip.checkpoint.aliases import Shared, View, apply_view, check_view, dense, find
from weightzip.checkpoint.layout import (
    MAX_JSON_DEPTH,
    PARAMETER,
    PARAMETER_FROZEN,
    TENSOR,
    TENSOR_WITH_GRAD,
    Cursor,
    Format,
    Layout,
)
from weightzip.checkpoint.models import common_prefix, keys_in_model, main_containers, unique_names, weight_containers
from weightzip.checkpoint.places import MAX_NAME_BYTES, MAX_NAME_CHARACTERS, TreePath, children, leaves_in, tensors_in
from weightzip.checkpoint.places import join as join_path
from weightzip.checkpoint.quiet import no_warnings
from weightzip.checkpoint.shards import Shards
from weightzip.checkpoint.tree import TreeDecoder, TreeEncoder, json_depth
from weightzip.errors import CheckpointError, FormatError, UnsupportedCheckpointError
from weightzip.interface import JSON, TensorSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, taken apart.

    tensors: the distinct stored tensors, on the CPU, detached, in their source dtype and order; strided as they are there.
        Names are unique: for tensors of the model's state dict their keys without the common prefix, for others their paths.
        They may share memory with the source: do not write to them.
    weights: the names of those that are a model's weights; only these may be coded lossily.
    layout: everything else that a faithful restore needs.
    mapped: whether the tensors are mapped from a file, so that `release` may be called on them.
    """

    tensors: dict[str, Tensor]
    weights: frozenset[str]
    layout: Layout
    mapped: bool = False

    def dense(self, name: str) -> Tensor:
        """One of the tensors, contiguous; a copy where it is not so in the source."""
        return dense(self.tensors[name])


@no_warnings()
def from_object(obj: object, name: str = "model.pt") -> Checkpoint:
    """Take a module, a state dict or any tree of them apart; it is left as it is. `name` stands for its file's name.

    Raises UnsupportedCheckpointError, naming the place, for what cannot be stored, CheckpointError where there is no
    tensor at all.
    """
    return take_apart(obj.state_dict() if isinstance(obj, nn.Module) else obj, "torch", name)


def take_apart(
    root: object,
    fmt: Format,
    name: str,
    *,
    metadata: Mapping[str, str] | None = None,
    shards: Shards | None = None,
    mapped: bool = False,
) -> Checkpoint:
    """`from_object` for a tree that was read from a file, or a folder of shards, of format `fmt`."""
    places = tensors_in(root)
    if not places:
        TreeEncoder(()).encode(root)  # refuses by name what cannot be stored, a module for example
        raise CheckpointError("there is no tensor in it")
    paths = [path for path, _ in places]
    shared = find([tensor for _, tensor in places])
    containers = weight_containers(root) if fmt == "torch" else [()]  # the other formats hold a model and nothing else
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
        shards=shards,
    )
    members = frozenset(containers)
    weights = {names[view.base] for path, view in zip(paths, shared.views, strict=True) if path[:-1] in members}
    return Checkpoint(dict(zip(names, shared.bases, strict=True)), frozenset(weights), layout, mapped)


def take_apart_file(root: object, fmt: Format, path: Path, name: str, **details: Any) -> Checkpoint:
    """`take_apart` with the path in each error; `name` is what the source is called."""
    try:
        return take_apart(root, fmt, name, **details)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error


@no_warnings()
def rebuild(layout: Layout, tensors: Mapping[str, Tensor]) -> object:
    """The tree that `layout` was taken from: keys, order, types, aliases (as views of one storage), Parameters.

    tensors: in the order of `Checkpoint.tensors`. Contiguous ones with a memory of their own are used, not copied.
    Raises FormatError where tensors and layout do not fit.
    """
    bases = [_own(tensor) for tensor in tensors.values()]
    kinds = [kind for kind, run in layout.kinds for _ in range(run)]

    def make(number: int, view: View) -> Tensor:
        return _as_kind(apply_view(bases[view.base], view), kinds[number] if number < len(kinds) else TENSOR)

    return _decode(layout, list(tensors), make)


def state_dict(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's own state dict: keys in the source's order, aliases restored.

    tensors: as for `rebuild`. Raises FormatError where tensors and layout do not fit.
    """
    return _in_model(layout, tensors_in(rebuild(layout, tensors)))


def module_state(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """What a module loads: the state dict without the "module." that all keys have in common, if they have, and with what
    modules keep in it besides tensors (torch's extra state).

    tensors: as for `rebuild`. Raises FormatError where tensors and layout do not fit.
    """
    tree = rebuild(layout, tensors)
    state: dict[str, object] = {**_in_model(layout, tensors_in(tree))}
    for path in layout.model:
        node: object = tree
        for part in path:
            node = dict(children(node)).get(part)  # a path that leads nowhere is that of no model
        state |= {str(key): value for key, value in children(node) if _is_extra_state(key) and not isinstance(value, Tensor)}
    return {key.removeprefix(layout.prefix): value for key, value in state.items()}


def with_prefix_of(module: nn.Module, state: Mapping[str, T]) -> dict[str, T]:
    """Anything with the keys of a `module_state` under the module's own, to which DataParallel or compile may add."""
    prefix = common_prefix([key for key in module.state_dict() if not _is_extra_state(key)])
    return {prefix + key: value for key, value in state.items()}


def _is_extra_state(key: object) -> bool:
    return isinstance(key, str) and key.rpartition(".")[2] == "_extra_state"


@dataclass(frozen=True)
class Location:
    """Where a tensor of the model's state dict is to be found.

    base: the name of the stored tensor that it is, or is a part of. shape: its own. view: for `apply_view`, which makes it
    of the base.
    """

    base: str
    shape: tuple[int, ...]
    view: View


def locate(layout: Layout, specs: Sequence[TensorSpec]) -> dict[str, Location]:
    """Where each tensor of `state_dict` is to be found; for this no tensor is needed.

    specs: of the distinct tensors, in order. Raises FormatError where they and the layout do not fit.
    """

    def make(_: int, view: View) -> Location:
        spec = specs[view.base]
        check_view(spec.num_elements, view)
        return Location(spec.name, spec.shape if view.window is None else view.window[0], view)

    tree = _decode(layout, [spec.name for spec in specs], make)
    return _in_model(layout, leaves_in(tree, Location))


def _in_model(layout: Layout, places: Sequence[tuple[TreePath, T]]) -> dict[str, T]:
    """Those leaves of a tree that are the model's, under their keys."""
    members = frozenset(layout.model)
    paths = [path for path, _ in places]
    if sum(len(str(part)) for path in paths if path[:-1] in members for part in path) > MAX_NAME_CHARACTERS:
        raise FormatError(f"layout: names of more than {MAX_NAME_CHARACTERS:,} characters in all")
    keys = keys_in_model(paths, layout.model)
    found = [(key, leaf) for key, (_, leaf) in zip(keys, places, strict=True) if key is not None]
    return dict(zip(unique_names(key for key, _ in found), (leaf for _, leaf in found), strict=True))


def _decode(layout: Layout, names: Sequence[str], make: Callable[[int, View], object]) -> object:
    """The tree of a layout with `make(number, view)` in place of its tensors. Raises FormatError where names do not fit."""
    source = _Source(layout, names, make)
    tree = TreeDecoder(source).decode(["state", len(names)] if layout.tree is None else layout.tree)
    source.finish()
    return tree


class _Source:
    """Hands out what stands in a layout's tree for its tensors, one after the other."""

    def __init__(self, layout: Layout, names: Sequence[str], make: Callable[[int, View], object]) -> None:
        self._names = names
        self._make = make
        self._cursor = Cursor(layout.views)

    def take(self, skip: int) -> tuple[str | None, object]:
        number = self._cursor.num_met
        view, fresh = self._cursor.step()
        if view.base >= len(self._names):
            raise FormatError(f"layout: more tensors than the {len(self._names)} that are there")
        return (self._names[view.base][skip:] if fresh else None), self._make(number, view)

    def finish(self) -> None:
        """Raise FormatError if a tensor or a view is left over."""
        self._cursor.finish()
        if self._cursor.num_distinct != len(self._names):
            raise FormatError(f"layout: {self._cursor.num_distinct} tensors where there are {len(self._names)}")


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

    names = unique_names(name(owner) for owner in shared.owners)
    for long in [name for name in names if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES]:
        raise UnsupportedCheckpointError(f"the name {long[:60]!r}... is longer than {MAX_NAME_BYTES} bytes; rename that tensor")
    return names


def _tree(root: object, names: list[str], shared: Shared) -> JSON:
    met: set[int] = set()
    first: list[str | None] = []
    for view in shared.views:
        first.append(None if view.base in met else names[view.base])
        met.add(view.base)
    tree = TreeEncoder(first).encode(root)
    if json_depth(tree) >= MAX_JSON_DEPTH:
        raise UnsupportedCheckpointError("dicts and lists are nested too deeply in each other; flatten it")
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
