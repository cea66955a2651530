"""What a faithful restore needs besides the tensors: the tree around them, aliases, prefixes, the file's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from weightzip.checkpoint.aliases import View
from weightzip.checkpoint.models import ContainerPath
from weightzip.checkpoint.places import MAX_RANK, MAX_TENSORS, has_possible_size
from weightzip.checkpoint.shards import SHARD_SUFFIX, Shards, is_text_map
from weightzip.checkpoint.tree import TreeChecker
from weightzip.errors import FormatError
from weightzip.interface import JSON

Format = Literal["torch", "safetensors", "shards"]

# What a tensor is besides its values: plain or a Parameter, with gradient or without.
TENSOR, TENSOR_WITH_GRAD, PARAMETER, PARAMETER_FROZEN = range(4)

_FIELDS = {"format", "name", "tree", "views", "kinds", "model", "prefix", "metadata", "shards"}
MAX_JSON_DEPTH = 250  # of a layout as JSON: what a tree of MAX_DEPTH takes, save for one made to need more
_MAX_PATH = 4096  # characters of the keys that lead to a model: each of its tensors is compared to them
_MAX_INDEX = (1 << 63) - 1


@dataclass(frozen=True)
class Layout:
    """Everything of a checkpoint but its tensors' values, names, dtypes and shapes.

    Tensors are not named here: the k-th distinct tensor is the k-th of `Checkpoint.tensors`, and whoever rebuilds hands
    them over in that order. "The k-th tensor of the tree" counts repetitions, in the tree's order.

    format: the source's file format; "shards" is a folder of several .safetensors files.
    source_name: the name of the source's file or folder, without the folders that it is in.
    tree: the tree as tree.py writes it; None for a plain dict of all the tensors under their own names.
    views: (k, view) for each tensor of the tree that is not simply the next distinct tensor.
    kinds: (kind, run length) for the tensors of the tree in order; what is beyond them is TENSOR.
    model: the containers whose direct tensors make up the model's state dict.
    prefix: what all keys of that state dict begin with and no name does, such as "module.".
    metadata: a safetensors file's own metadata.
    shards: what the files of a folder of shards are, None for any other format.
    """

    format: Format
    source_name: str
    tree: JSON = None
    views: tuple[tuple[int, View], ...] = ()
    kinds: tuple[tuple[int, int], ...] = ()
    model: tuple[ContainerPath, ...] = ((),)
    prefix: str = ""
    metadata: Mapping[str, str] | None = None
    shards: Shards | None = None

    def to_json(self) -> JSON:
        """The layout as a JSON object, without the fields that have their usual values."""
        stored: dict[str, JSON] = {"format": self.format, "name": self.source_name}
        if self.tree is not None:
            stored["tree"] = self.tree
        if self.views:
            stored["views"] = [[index, view.base, *(view.window or ())] for index, view in self.views]
        if self.kinds:
            stored["kinds"] = [list(run) for run in self.kinds]
        if self.model != ((),):
            stored["model"] = [list(path) for path in self.model]
        if self.prefix:
            stored["prefix"] = self.prefix
        if self.metadata is not None:
            stored["metadata"] = dict(self.metadata)
        if self.shards is not None:
            stored["shards"] = self.shards.to_json()
        return stored

    @classmethod
    def from_json(cls, obj: JSON) -> Layout:
        """The layout that `to_json` wrote. Raises FormatError for anything else, before it is used for anything."""
        if not isinstance(obj, dict) or not {"format", "name"} <= set(obj) <= _FIELDS:
            raise FormatError("layout: missing or unknown fields; a newer weightzip may know them")
        if obj["format"] not in get_args(Format) or not isinstance(obj["name"], str):
            raise FormatError("layout: unknown format, or a name that is no string")
        prefix, metadata = obj.get("prefix", ""), obj.get("metadata")
        if not isinstance(prefix, str):
            raise FormatError("layout: prefix is no string")
        if metadata is not None and not is_text_map(metadata):
            raise FormatError("layout: metadata maps strings to strings")
        layout = cls(
            format=obj["format"],
            source_name=obj["name"],
            tree=obj.get("tree"),
            views=tuple(_view(entry) for entry in _list(obj, "views")),
            kinds=tuple(_kind(entry) for entry in _list(obj, "kinds")),
            model=tuple(_path(entry) for entry in _list(obj, "model")) if "model" in obj else ((),),
            prefix=prefix,
            metadata=metadata,
            shards=Shards.from_json(obj["shards"]) if "shards" in obj else None,
        )
        _check_tree(layout)
        return layout


class Cursor:
    """Goes through the tensors of a tree in order and says which distinct tensor each one is."""

    def __init__(self, views: Iterable[tuple[int, View]]) -> None:
        self._views = dict(views)
        self._met = 0
        self.num_distinct = 0

    @property
    def num_met(self) -> int:
        """Tensors met so far, repetitions included."""
        return self._met

    def step(self) -> tuple[View, bool]:
        """The next tensor's view, and whether its base is met for the first time. Raises FormatError out of range."""
        view = self._views.pop(self._met, None) or View(self.num_distinct)
        if view.base > self.num_distinct or self._met == MAX_TENSORS:
            raise FormatError(f"layout: tensor {self._met} out of range")
        self._met += 1
        fresh = view.base == self.num_distinct
        self.num_distinct += fresh
        return view, fresh

    def finish(self) -> None:
        """Raise FormatError if a view is left over."""
        if self._views:
            raise FormatError(f"layout: view of a tensor that is not there: {min(self._views)}")


class _NoTensors:
    """A source without tensors, to check a tree on its own. Its names are such that no key of a real tree has them."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def take(self, skip: int) -> tuple[str | None, object]:
        view, fresh = self._cursor.step()
        return (f"\ud800{view.base}" if fresh else None), None


def _check_tree(layout: Layout) -> None:
    if (layout.format == "shards") != (layout.shards is not None):
        raise FormatError("layout: shards without a folder of them, or the other way round")
    if sum(run for _, run in layout.kinds) > MAX_TENSORS:
        raise FormatError("layout: more kinds than tensors")
    if len({index for index, _ in layout.views}) != len(layout.views):
        raise FormatError("layout: two views of one tensor")
    if layout.tree is None:
        if layout.views:
            raise FormatError("layout: views without a tree")
        if layout.shards is not None and layout.shards.num_tensors > MAX_TENSORS:
            raise FormatError("layout: shards of more tensors than there can be")
        return
    cursor = Cursor(layout.views)
    TreeChecker(_NoTensors(cursor)).decode(layout.tree)
    cursor.finish()
    if sum(run for _, run in layout.kinds) > cursor.num_met:
        raise FormatError("layout: more kinds than tensors")
    if layout.shards is not None and layout.shards.num_tensors != cursor.num_met:
        raise FormatError(f"layout: shards of {layout.shards.num_tensors} tensors, where there are {cursor.num_met}")


def _list(obj: dict[str, JSON], field: str) -> list[JSON]:
    value = obj.get(field, [])
    if not isinstance(value, list) or not all(isinstance(entry, list) for entry in value):
        raise FormatError(f"layout: {field} is no list of lists")
    return value


def _view(entry: list[JSON]) -> tuple[int, View]:
    if len(entry) == 2 and _are_indices(entry):
        return entry[0], View(entry[1])
    if len(entry) != 5 or not isinstance(entry[2], list) or not isinstance(entry[3], list):
        raise FormatError("layout: malformed view")
    index, base, shape, stride, offset = entry
    if not _are_indices([index, base, offset, *shape, *stride]) or not len(shape) == len(stride) <= MAX_RANK:
        raise FormatError("layout: malformed view")
    if not has_possible_size(shape):
        raise FormatError("layout: a view of an impossible shape")
    return index, View(base, (tuple(shape), tuple(stride), offset))


def _kind(entry: list[JSON]) -> tuple[int, int]:
    if len(entry) != 2 or not _are_indices(entry) or entry[0] > PARAMETER_FROZEN:
        raise FormatError("layout: malformed kind of tensor")
    return entry[0], entry[1]


def _path(entry: list[JSON]) -> ContainerPath:
    if not all(type(part) in (str, int) for part in entry):
        raise FormatError("layout: malformed path of a model")
    if sum(len(part) for part in entry if isinstance(part, str)) > _MAX_PATH:
        raise FormatError(f"layout: a path of a model of more than {_MAX_PATH} characters")
    return tuple(entry)


def _are_indices(values: list[JSON]) -> bool:
    return all(type(value) is int and 0 <= value <= _MAX_INDEX for value in values)


def default_output(layout: Layout) -> str:
    """The name to restore to: the source's file name, made harmless.

    A name comes from a file that anybody may have written; so it is reduced to a base name that is visible, has no
    control characters or such as some system gives a meaning, and is of moderate length.

    >>> default_output(Layout("torch", "../../.ssh/config"))
    'config'
    """
    name = re.split(r"[/\\]", layout.source_name)[-1]
    name = re.sub(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]', "_", name).lstrip(". ").rstrip(". ")
    while len(name.encode()) > 200:
        name = name[1:]  # the suffix matters more
    return name or {"torch": "model.pt", "safetensors": "model.safetensors", "shards": "model"}[layout.format]


def default_tensor_output(layout: Layout, name: str) -> str:
    """The name of a file for one tensor alone, in the source's format; never the name that the source has.

    >>> default_tensor_output(Layout("torch", "model.pt"), "fc1/../weight")
    'fc1_.._weight.pt'
    >>> default_tensor_output(Layout("torch", "model.pt"), "model")
    'model.tensor.pt'
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-")[:150] or "tensor"
    suffix = ".pt" if layout.format == "torch" else SHARD_SUFFIX
    taken = default_output(layout).lower()  # some systems do not tell cases apart
    return stem + suffix if (stem + suffix).lower() != taken else f"{stem}.tensor{suffix}"
