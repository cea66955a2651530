"""Which tensors of a checkpoint are a model's weights, and what they are called.

A training checkpoint holds more than a model: an optimizer's moments, a scheduler's state, random states. Only tensors
of models may lose anything; so what is not recognised as a model's counts as the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from weightzip.checkpoint.places import TreePath, children, join

# Keys under which the usual libraries keep the model's own state dict, the surest first.
_MAIN = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
)
# Keys that hold a model. Beside one, nothing else is weights (a best score, moments, a replay buffer) but copies of the model:
# what has its keys, which moments have as well, under a key that says so.
_MODEL = re.compile(r"(\w+_)?state_?dict(_\w+)?|model(_\w+)?|module|net(\w|work)?|weights|params|generator|discriminator", re.I)
_COPY = re.compile(r"(^|_)(ema|swa|averaged?|shadow|teacher|student|target|best)(_|$)", re.I)
# Keys that hold something else.
_OTHER = re.compile(
    r"optim|sched|scaler|rng|random|callback|loops|hparam|hyper|config|args|metric|history|sampler|loader", re.I
)
_PREFIXES = ("module.", "_orig_mod.")  # put before every key by DataParallel and by torch.compile

ContainerPath = tuple[str | int, ...]


def weight_containers(root: object) -> list[ContainerPath]:
    """Paths of all dicts, lists and tuples whose direct tensors are weights of a model."""

    def visit(node: object, path: ContainerPath) -> list[ContainerPath]:
        if _is_optimizer(node):
            return []
        below: list[ContainerPath] = []
        for key, child in children(node):
            if type(key) in (str, int) and not (isinstance(key, str) and _OTHER.search(key)):
                below += visit(child, (*path, key))  # type: ignore[arg-type]  # str or int, by the line above
        models = [found for found in below if _is_model(found[len(path)])]
        if models:
            known = {_keys(root, found) for found in models}
            copies = [found for found in below if _is_copy(found[len(path) :]) and _keys(root, found) in known]
            return [found for found in below if found in copies or any(map(_is_model, found[len(path) :]))]
        direct = any(isinstance(child, Tensor) for _, child in children(node))
        return [path, *below] if direct else below

    return [()] if isinstance(root, Tensor) else visit(root, ())


def _is_model(key: str | int) -> bool:
    return isinstance(key, str) and bool(_MODEL.fullmatch(key))


def _is_copy(path: ContainerPath) -> bool:
    return any(isinstance(part, str) and _COPY.search(part) for part in path)


def _keys(root: Any, path: ContainerPath) -> frozenset[str]:
    """The keys of a container of weights, by which copies of a model are known, such as moving averages."""
    for part in path:
        root = root[part]
    keys = [str(key) for key, child in children(root) if isinstance(child, Tensor)]
    prefix = common_prefix(keys)
    return frozenset(key.removeprefix(prefix) for key in keys)


def main_containers(containers: Sequence[ContainerPath]) -> tuple[ContainerPath, ...]:
    """Those that make up the model's own state dict: under the surest of the usual keys, all where there is none."""

    def rank(path: ContainerPath) -> int:
        return min((_MAIN.index(part) for part in path if part in _MAIN), default=len(_MAIN))

    best = min(map(rank, containers), default=0)
    return tuple(path for path in containers if rank(path) == best)


def keys_in_model(paths: Iterable[TreePath], model: Sequence[ContainerPath]) -> list[str | None]:
    """For each tensor's path its key in the model's state dict; None where it is not one of the model's."""
    members = frozenset(model)
    skip = len(_common(model))
    # a tensor that is the whole tree has no key of its own
    return [(join(path[skip:]) if path else "tensor") if path[:-1] in members else None for path in paths]


def common_prefix(keys: Sequence[str]) -> str:
    """What DataParallel and torch.compile have put before all keys.

    >>> common_prefix(["module.fc.weight", "module.fc.bias"])
    'module.'
    """
    prefix = ""
    while True:
        longer = [prefix + part for part in _PREFIXES if all(_continues(key, prefix + part) for key in keys)]
        if not keys or not longer:
            return prefix
        prefix = longer[0]


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, with "~2", "~3" ... appended where one has appeared before.

    >>> unique_names(["a", "b", "a"])
    ['a', 'b', 'a~2']
    """
    wanted = list(names)
    taken = set(wanted)
    seen: dict[str, int] = {}
    result = []
    for name in wanted:
        seen[name] = seen.get(name, 0) + 1
        unique = name
        while seen[name] > 1 and (unique := f"{name}~{seen[name]}") in taken:
            seen[name] += 1
        taken.add(unique)
        result.append(unique)
    return result


def _is_optimizer(node: object) -> bool:
    return isinstance(node, dict) and "param_groups" in node and "state" in node


def _common(paths: Sequence[ContainerPath]) -> ContainerPath:
    """The longest path that all paths begin with."""
    if not paths:
        return ()
    first, last = min(paths, key=_order), max(paths, key=_order)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _order(path: ContainerPath) -> list[tuple[str, str]]:
    return [(type(part).__name__, str(part)) for part in path]


def _continues(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and len(key) > len(prefix)
