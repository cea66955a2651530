"""Where things are in a checkpoint's tree: paths, the walk over all tensors, and what may be among them.

A tree is made of dicts, lists and tuples; everything else is a leaf. Every walk in this package visits tensors in the
same order, the tree's own, so that the k-th tensor met is always the same one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from weightzip.checkpoint.dtypes import dtype_name
from weightzip.errors import UnsupportedCheckpointError

T = TypeVar("T")

MAX_DEPTH = 64  # containers inside containers
MAX_NODES = 10_000_000  # values in one tree: a container that is referenced from many places counts each time
MAX_TENSORS = 1_000_000  # tensors in one tree, repetitions included
MAX_NAME_CHARACTERS = 1 << 26  # of all names that a tree makes of its tensors' names, and of those of its modules
MAX_KEY_BITS = 1024  # of a key that is an integer: Python writes no more than 4300 digits
MAX_LONG_KEYS = 1000  # of more than 64 bits in a tree: they could be made such that all fall in one place of a dict
MAX_RANK = 64  # dimensions of a tensor
MAX_NAME_BYTES = 4096  # of a tensor's name in UTF-8
MAX_ELEMENTS = 1 << 50  # of a tensor

TreePath = tuple[object, ...]  # keys and indices from the root down


def describe(path: TreePath) -> str:
    """A path for messages.

    >>> describe(("optimizer", "state", 0))
    "at 'optimizer.state.0'"
    >>> describe(())
    'at the top level'
    """
    return f"at {join(path)!r}" if path else "at the top level"


def has_possible_size(shape: Sequence[int]) -> bool:
    """Whether a shape of non-negative integers is one that torch can work with: no size, no product over MAX_ELEMENTS."""
    return math.prod(max(size, 1) for size in shape) <= MAX_ELEMENTS


def join(path: TreePath) -> str:
    """A path as one name, its parts joined by dots."""
    return ".".join(str(part) for part in path)


def children(node: object) -> Iterator[tuple[object, object]]:
    """The (key or index, value) pairs of a container; nothing for a leaf."""
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, (list, tuple)):
        yield from enumerate(node)


def tensors_in(root: object) -> list[tuple[TreePath, Tensor]]:
    """All tensors of a tree with their paths, in the tree's order.

    Raises UnsupportedCheckpointError for a tensor that cannot be stored, and for a tree that is too deep or too large.
    """
    found = leaves_in(root, Tensor)
    for path, tensor in found:
        _check_tensor(tensor, path)
    return found


def leaves_in(root: object, kind: type[T]) -> list[tuple[TreePath, T]]:
    """All values of a tree that are of one kind, be it tensors or what stands for them; order and errors as `tensors_in`."""
    found: list[tuple[TreePath, T]] = []
    num_nodes = 0

    def visit(node: object, path: TreePath) -> None:
        nonlocal num_nodes
        num_nodes += 1
        if num_nodes > MAX_NODES:
            raise UnsupportedCheckpointError(f"more than {MAX_NODES:,} values; save the tensors alone")
        if isinstance(node, kind):
            found.append((path, node))
            if len(found) > MAX_TENSORS:
                raise UnsupportedCheckpointError(f"more than {MAX_TENSORS:,} tensors; save them in several files")
        for key, child in children(node):
            if len(path) == MAX_DEPTH:
                raise UnsupportedCheckpointError(f"nested deeper than {MAX_DEPTH}, {describe(path[:3])}; flatten it")
            visit(child, (*path, key))

    visit(root, ())
    return found


def _check_tensor(tensor: Tensor, path: TreePath) -> None:
    where = describe(path)
    if tensor.is_nested:
        raise UnsupportedCheckpointError(f"a nested tensor {where}; .unbind() it and save its parts as plain tensors")
    if tensor.layout != torch.strided:
        kind = str(tensor.layout).removeprefix("torch.")
        raise UnsupportedCheckpointError(f"a sparse tensor ({kind}) {where}; call .to_dense() on it and save again")
    if tensor.is_quantized:
        raise UnsupportedCheckpointError(f"a quantised tensor ({tensor.dtype}) {where}; .dequantize() it and save again")
    if tensor.device.type == "meta":
        raise UnsupportedCheckpointError(f"a tensor without data (device meta) {where}; load its values first")
    if type(tensor) not in (Tensor, nn.Parameter):
        raise UnsupportedCheckpointError(f"a {type(tensor).__name__} {where}; convert it to a plain tensor and save again")
    if vars(tensor):
        raise UnsupportedCheckpointError(
            f"a tensor with attributes {sorted(vars(tensor))[:3]} {where}; .detach() it to drop them"
        )
    try:
        dtype_name(tensor.dtype)
    except UnsupportedCheckpointError as error:
        raise UnsupportedCheckpointError(f"{error} ({where})") from None
