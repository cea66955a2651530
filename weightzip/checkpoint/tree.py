"""The tree of a checkpoint as JSON, without its tensors, and back.

    None, bool, int, float, str     themselves
    {"key": value, ...}             a dict with string keys and no tensor directly in it
    ["t"]                           the next tensor
    ["state", count, options]       a dict with string keys that holds tensors: `count` entries, each by default the
                                    next tensor under the name it is stored under. Options, where it is otherwise:
                                    "ordered": an OrderedDict; "metadata": one with `_metadata`, see modules.py;
                                    "skip", "add": key = add + name[skip:];
                                    "odd": [[position, key], ...] for a tensor whose key does not follow from a name,
                                    [[position, key, value], ...] for a value that is no tensor
    ["list", ...] ["tuple", ...] ["set", ...] ["dict", key, value, ...] ["odict", ...] ["counter", ...]
    [tag, ...]                      any other plain value, see plain.py

Tensors are met in the tree's order, so no node says which one it holds, and a state dict needs no keys: its tensors
have names anyway.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor

from weightzip.checkpoint.modules import check_metadata, decode_metadata, encode_metadata
from weightzip.checkpoint.places import (
    MAX_DEPTH,
    MAX_KEY_BITS,
    MAX_LONG_KEYS,
    MAX_NAME_CHARACTERS,
    MAX_NODES,
    TreePath,
    describe,
)
from weightzip.checkpoint.plain import decode_plain, encode_plain
from weightzip.errors import FormatError, UnsupportedCheckpointError
from weightzip.interface import JSON

_DICTS: dict[str, type] = {"dict": dict, "odict": OrderedDict, "counter": Counter}
_DICT_TAGS = {kind: tag for tag, kind in _DICTS.items()}
_STATE_OPTIONS = {"ordered", "metadata", "skip", "add", "odd"}


class TreeEncoder:
    """Encodes one tree. `names`: for each tensor in it, in order, the name it is stored under, or None."""

    def __init__(self, names: Sequence[str | None]) -> None:
        self._names = iter(names)

    def encode(self, node: object, path: TreePath = ()) -> JSON:
        """A node as JSON. Raises UnsupportedCheckpointError, naming the place, for what cannot be stored."""
        if len(path) > MAX_DEPTH:
            raise UnsupportedCheckpointError(f"nested deeper than {MAX_DEPTH}, {describe(path[:3])}; flatten it")
        if isinstance(node, Tensor):
            self._take(path)
            return ["t"]
        if isinstance(node, dict) and type(node) in _DICT_TAGS:
            return self._encode_dict(node, path)
        if type(node) in (list, tuple):
            items: Iterable[object] = node  # type: ignore[assignment]  # mypy does not narrow by `type() in`
            return [type(node).__name__, *(self.encode(item, (*path, index)) for index, item in enumerate(items))]
        if type(node) is set:
            place = (*path, "an item")
            return ["set", *sorted((_encode_key(item, place) for item in node), key=json.dumps)]
        return encode_plain(node, path)

    def _take(self, path: TreePath) -> str | None:
        try:
            return next(self._names)
        except StopIteration:
            raise UnsupportedCheckpointError(f"a tensor {describe(path)}, where none can be stored") from None

    def _encode_dict(self, node: dict[Any, object], path: TreePath) -> JSON:
        text_keys = all(type(key) is str for key in node)
        attributes = getattr(node, "__dict__", {})
        if not set(attributes) <= ({"_metadata"} if text_keys else set()):
            raise UnsupportedCheckpointError(f"a dict with attributes {sorted(attributes)} {describe(path)}; remove them")
        keys = [_encode_key(key, (*path, key)) for key in node]
        if text_keys and (attributes or any(isinstance(value, Tensor) for value in node.values())):
            return self._encode_state(node, path)
        if text_keys and type(node) is dict:
            return {key: self.encode(value, (*path, key)) for key, value in node.items()}
        tagged: list[JSON] = [_DICT_TAGS[type(node)]]
        for stored, (key, value) in zip(keys, node.items(), strict=True):
            tagged += [stored, self.encode(value, (*path, key))]
        return tagged

    def _encode_state(self, node: dict[str, object], path: TreePath) -> JSON:
        rule: tuple[int, str] | None = None
        odd: list[JSON] = []
        for position, (key, value) in enumerate(node.items()):
            if not isinstance(value, Tensor):
                odd.append([position, key, self.encode(value, (*path, key))])
                continue
            name = self._take((*path, key))
            if name is not None:
                rule = rule or _naming_rule(name, key)
                if key == rule[1] + name[rule[0] :]:
                    continue
            odd.append([position, key])
        options = {"skip": rule[0] if rule else 0, "add": rule[1] if rule else "", "odd": odd}
        stored: dict[str, JSON] = {option: value for option, value in options.items() if value}
        if hasattr(node, "_metadata"):
            place = (*path, "_metadata")
            encode = TreeEncoder(()).encode
            stored["metadata"] = encode_metadata(node._metadata, node, lambda value: encode(value, place))
        elif type(node) is OrderedDict:
            stored["ordered"] = True
        return ["state", len(node), stored] if stored else ["state", len(node)]


def json_depth(node: JSON) -> int:
    """How many objects and lists stand inside each other at most.

    >>> json_depth({"a": [1, [2]]})
    3
    """
    depth, level = 0, [node]
    while level := [child for child in level if isinstance(child, (dict, list))]:
        level = [child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent)]
        depth += 1
    return depth


class Source(Protocol):
    """Where a decoded tree takes its tensors from, one after the other."""

    def take(self, skip: int) -> tuple[str | None, object]:
        """The name of the next tensor without its first `skip` characters, None for a repetition, and the tensor."""


class TreeDecoder:
    """Decodes one tree, with tensors from `source`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._num_nodes = self._num_characters = self._num_long_keys = 0
        self._tags: dict[str, Callable[[list[JSON], int], object]] = {
            "t": self._decode_tensor,
            "state": self._decode_state,
            "list": lambda items, depth: [self.decode(item, depth + 1) for item in items],
            "tuple": lambda items, depth: tuple(self.decode(item, depth + 1) for item in items),
            "set": self._decode_set,
            "dict": lambda items, depth: self._decode_pairs({}, items, depth),
            "odict": lambda items, depth: self._decode_pairs(OrderedDict(), items, depth),
            "counter": lambda items, depth: Counter(self._decode_pairs({}, items, depth)),
        }

    def decode(self, node: JSON, depth: int = 0) -> object:
        """The tree behind JSON. Raises FormatError where it is malformed."""
        if depth > MAX_DEPTH:
            raise FormatError(f"layout: nested deeper than {MAX_DEPTH}")
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise FormatError(f"layout: more than {MAX_NODES:,} values")
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, dict) and all(isinstance(key, str) for key in node):
            return {key: self.decode(value, depth + 1) for key, value in node.items()}
        if not isinstance(node, list) or not node or not isinstance(node[0], str):
            raise FormatError("layout: neither a plain value nor a tagged one")
        decode = self._tags.get(node[0])
        return decode(node[1:], depth) if decode else decode_plain(node[0], node[1:])

    def _decode_tensor(self, arguments: list[JSON], depth: int) -> object:
        if arguments:
            raise FormatError("layout: a tensor takes no arguments")
        return self._source.take(0)[1]

    def _decode_set(self, items: list[JSON], depth: int) -> set[object]:
        return {self._decode_key(item, depth + 1) for item in items}

    def _decode_key(self, node: JSON, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise FormatError(f"layout: nested deeper than {MAX_DEPTH}")
        tag = node[0] if isinstance(node, list) and node else None
        if isinstance(node, dict) or tag in ("bytearray", "t", "state", "list", "set", *_DICTS):
            raise FormatError(f"layout: a key that cannot be one: {str(node)[:40]}")
        if tag == "tuple":
            return tuple(self._decode_key(item, depth + 1) for item in node[1:])
        key = self.decode(node, depth)
        if type(key) is int and key.bit_length() > 64:
            self._num_long_keys += 1
            if key.bit_length() > MAX_KEY_BITS or self._num_long_keys > MAX_LONG_KEYS:
                raise FormatError(
                    f"layout: a key that cannot be one: an integer of {key.bit_length()} bits, or too many of them"
                )
        return key

    def _decode_pairs(self, result: dict[Any, object], items: list[JSON], depth: int) -> dict[Any, object]:
        """Fill `result` with the keys and values that alternate in `items`."""
        if len(items) % 2:
            raise FormatError("layout: a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            result[self._decode_key(key, depth + 1)] = self.decode(value, depth + 1)
        if len(result) != len(items) // 2:
            raise FormatError("layout: a key appears twice")
        return result

    def _decode_state(self, arguments: list[JSON], depth: int) -> object:
        count, skip, add, odd, options = _state_options(arguments)
        result: dict[str, object] = OrderedDict() if {"ordered", "metadata"} & set(options) else {}
        for position in range(count):
            if position in odd:
                key, *value = odd[position]
                result[key] = self.decode(value[0], depth + 1) if value else self._source.take(0)[1]
                continue
            name, tensor = self._source.take(skip)
            if name is None:
                raise FormatError("layout: a tensor that repeats another has no key")
            self._num_characters += len(add) + len(name)
            if self._num_characters > MAX_NAME_CHARACTERS:
                raise FormatError(f"layout: names of more than {MAX_NAME_CHARACTERS:,} characters in all")
            result[add + name] = tensor
        if len(result) != count:
            raise FormatError("layout: a key appears twice")
        if "metadata" in options:
            metadata = self._decode_metadata(options["metadata"], result, depth + 1)
            result._metadata = metadata  # type: ignore[attr-defined]  # as torch's own state dicts carry it
        return result

    def _decode_metadata(self, stored: JSON, keys: Iterable[str], depth: int) -> object:
        return decode_metadata(stored, keys, lambda node: self.decode(node, depth))


class TreeChecker(TreeDecoder):
    """Checks a tree before the names of its tensors are known; what it decodes is of no use."""

    def _decode_metadata(self, stored: JSON, keys: Iterable[str], depth: int) -> object:
        check_metadata(stored)
        nodes = [stored.get("plain"), *(node for node, _ in stored.get("values", []))]
        return [self.decode(node, depth) for node in nodes]


def _naming_rule(name: str, key: str) -> tuple[int, str]:
    """(skip, add) such that key == add + name[skip:], with as much of the name as fits."""
    common = 0
    while common < min(len(name), len(key)) and name[-1 - common] == key[-1 - common]:
        common += 1
    return len(name) - common, key[: len(key) - common]


def _encode_key(key: object, path: TreePath) -> JSON:
    """A key of a dict, or an item of a set: a plain value or a tuple of them."""
    if len(path) > MAX_DEPTH:
        raise UnsupportedCheckpointError(f"a key nested deeper than {MAX_DEPTH}, {describe(path[:3])}; flatten it")
    if type(key) is int and key.bit_length() > MAX_KEY_BITS:
        raise UnsupportedCheckpointError(
            f"a key that is an integer of over {MAX_KEY_BITS} bits {describe(path[:-1])}; replace it"
        )
    if type(key) is not tuple:
        return encode_plain(key, path)
    return ["tuple", *(_encode_key(item, (*path, index)) for index, item in enumerate(key))]


def _state_options(arguments: list[JSON]) -> tuple[int, int, str, dict[int, list[JSON]], dict[str, JSON]]:
    """The checked arguments of a "state" node: count, skip, add, odd entries by position, all options."""
    count, options = (*arguments, {})[:2] if 1 <= len(arguments) <= 2 else (None, None)
    if type(count) is not int or count < 0:
        raise FormatError("layout: a state dict needs a count")
    if not isinstance(options, dict) or not set(options) <= _STATE_OPTIONS:
        raise FormatError("layout: unknown options of a state dict; a newer weightzip may know them")
    skip, add, entries = options.get("skip", 0), options.get("add", ""), options.get("odd", [])
    if type(skip) is not int or skip < 0 or not isinstance(add, str) or not isinstance(entries, list):
        raise FormatError("layout: malformed options of a state dict")
    if options.get("ordered", True) is not True:
        raise FormatError("layout: a state dict is ordered or says nothing")
    odd: dict[int, list[JSON]] = {}
    for entry in entries:
        if not isinstance(entry, list) or not 2 <= len(entry) <= 3 or not isinstance(entry[1], str):
            raise FormatError("layout: malformed entry of a state dict")
        if type(entry[0]) is not int or not 0 <= entry[0] < count or entry[0] in odd:
            raise FormatError("layout: entry of a state dict out of place")
        odd[entry[0]] = entry[1:]
    return count, skip, add, odd, options
