"""The `_metadata` that torch attaches to state dicts (a version per module), as compact JSON and back.

Nearly all of it follows from the keys: a module per prefix, version 1. Stored is only what does not.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable

from weightzip.checkpoint.places import MAX_NAME_CHARACTERS
from weightzip.errors import FormatError
from weightzip.interface import JSON

_USUAL = '{"version": 1}'


def encode_metadata(metadata: object, keys: Iterable[str], encode: Callable[[object], JSON]) -> JSON:
    """`_metadata` of a state dict with these keys; `encode` turns a value into JSON.

    The result is {"add": [[position, module], ...], "values": [[value, [position, ...]], ...]}, or {"plain": value}
    for metadata of another build; positions count in the metadata's own order.
    """
    derived = _modules(keys)
    if type(metadata) is not OrderedDict or vars(metadata) or not all(type(name) is str for name in metadata):
        return {"plain": encode(metadata)}
    names = list(metadata)
    kept = set(derived)
    if [name for name in names if name in kept] != derived:
        return {"plain": encode(metadata)}
    values: dict[str, tuple[JSON, list[int]]] = {}
    for position, value in enumerate(metadata.values()):
        node = encode(value)
        text = json.dumps(node)
        if text != _USUAL:
            values.setdefault(text, (node, []))[1].append(position)
    result: dict[str, JSON] = {}
    if len(names) > len(derived):
        result["add"] = [[position, encode(name)] for position, name in enumerate(names) if name not in kept]
    if values:
        result["values"] = [[node, positions] for node, positions in values.values()]
    return result


def check_metadata(stored: JSON) -> None:
    """Raise FormatError where `stored` is not what `encode_metadata` writes; what the keys say is not looked at."""
    if not isinstance(stored, dict) or not set(stored) <= {"plain", "add", "values"}:
        raise FormatError("layout: metadata is not an object of known fields")
    for field, first, second in (("add", int, str), ("values", object, list)):
        entries = stored.get(field, [])
        if not isinstance(entries, list) or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
            raise FormatError(f"layout: metadata: {field} is no list of pairs")
        if not all(isinstance(entry[0], first) and isinstance(entry[1], second) for entry in entries):
            raise FormatError(f"layout: metadata: {field} is malformed")
    if not all(type(position) is int and position >= 0 for _, some in stored.get("values", []) for position in some):
        raise FormatError("layout: metadata: a position is no index")


def decode_metadata(stored: JSON, keys: Iterable[str], decode: Callable[[JSON], object]) -> object:
    """The `_metadata` behind `stored`, for a state dict with these keys. Raises FormatError where it does not fit."""
    check_metadata(stored)
    if "plain" in stored:
        return decode(stored["plain"])
    names = _merge(_modules(keys), dict(stored.get("add", [])))
    metadata: OrderedDict[str, object] = OrderedDict((name, json.loads(_USUAL)) for name in names)
    for node, positions in stored.get("values", []):
        for position in positions:
            if position >= len(names):
                raise FormatError(f"layout: metadata of module {position}, where there are {len(names)}")
            metadata[names[position]] = decode(node)
    return metadata


def _merge(derived: list[str], added: dict[int, str]) -> list[str]:
    """Both lists of modules as one, `added` at the positions that it names."""
    rest = iter(derived)
    names: list[str] = []
    for position in range(len(derived) + len(added)):
        name = added[position] if position in added else next(rest, None)
        if name is None:
            raise FormatError("layout: metadata names a module out of place")
        names.append(name)
    return names


def _modules(keys: Iterable[str]) -> list[str]:
    """The modules that the keys of a state dict name, each before its children; "" is the whole.

    >>> _modules(["conv.weight", "head.fc.bias"])
    ['', 'conv', 'head', 'head.fc']
    """
    modules = {"": None}
    num_characters = 0
    for key in keys:
        parts = key.split(".")[:-1]
        for depth in range(1, len(parts) + 1):
            module = ".".join(parts[:depth])
            num_characters += len(module)
            if num_characters > MAX_NAME_CHARACTERS:
                raise FormatError(f"layout: names of more than {MAX_NAME_CHARACTERS:,} characters in all")
            modules[module] = None
    return list(modules)
