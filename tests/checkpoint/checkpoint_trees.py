"""Random checkpoints, and what it means that two of them are the same."""

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import nn

from weightzip.checkpoint.places import children, tensors_in
from weightzip.checkpoint.quiet import no_warnings

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex32,
    torch.complex64,
    torch.complex128,
]
UNPRINTABLE = torch.float4_e2m1fn_x2  # hypothesis cannot show a failing example of it
# Those with which torch can load what it has saved.
TRAINABLE = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]
BUFFER = 48  # elements


def random_buffer(dtype, seed, size=BUFFER):
    """Any bits at all: NaNs of all kinds, infinities, denormals."""
    generator = torch.Generator().manual_seed(seed)
    if dtype is torch.bool:
        return torch.randint(0, 2, (size,), generator=generator).bool()
    raw = torch.randint(0, 256, (size * dtype.itemsize,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype)


@st.composite
def views(draw, buffer):
    """A tensor on `buffer`: sliced, shaped, transposed, strided, expanded, windowed."""
    start = draw(st.integers(0, BUFFER))
    stop = draw(st.integers(start, BUFFER))
    tensor = buffer[start : stop : draw(st.sampled_from([1, 1, 1, 2, 3]))]
    rows = draw(st.sampled_from([size for size in range(1, 7) if tensor.numel() % size == 0]))
    tensor = tensor.unflatten(0, (rows, tensor.numel() // rows)) if tensor.numel() else tensor.reshape(rows, 0)
    how = draw(st.sampled_from(["as is", "as is", "transpose", "columns", "row", "scalar", "expand", "window", "rank 3"]))
    if how == "transpose":
        return tensor.t()
    if how == "columns":
        return tensor[:, draw(st.integers(0, tensor.shape[1])) :]
    if how == "row":
        return tensor[draw(st.integers(0, rows - 1))]
    if how == "scalar" and tensor.numel():
        return tensor[-1, -1]
    if how == "expand":
        return tensor.unsqueeze(1).expand(-1, 3, -1)
    if how == "window" and tensor.shape[1] > 2:
        return tensor.unfold(1, 2, 1)
    if how == "rank 3":
        return tensor.unsqueeze(1).transpose(0, 2)
    return tensor


@st.composite
def pools(draw):
    """Up to six tensors on up to two buffers; some are Parameters, some want gradients."""
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2))
    with no_warnings():  # some dtypes are in trial
        buffers = [random_buffer(dtype, draw(st.integers(0, 1000))) for dtype in dtypes]
    tensors = []
    for _ in range(draw(st.integers(1, 6))):
        buffer = draw(st.sampled_from(buffers))
        tensor = draw(views(buffer)).detach()
        trainable = buffer.dtype in TRAINABLE
        kind = draw(st.sampled_from(["tensor", "tensor", "tensor", "grad", "parameter", "frozen"]))
        if kind == "grad" and trainable:
            tensor.requires_grad_()
        elif kind == "parameter" and trainable:
            tensor = nn.Parameter(tensor)
        elif kind == "frozen":
            tensor = nn.Parameter(tensor, requires_grad=False)
        tensors.append(tensor)
    return tensors


@dataclass(frozen=True)
class Reference:
    """Stands for a tensor while hypothesis draws a tree."""

    index: int


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
BYTES = st.binary(min_size=1, max_size=4)  # torch's safe loader refuses an empty one
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(),
    st.complex_numbers(),
    KEYS,
    BYTES,
    st.sampled_from(DTYPES),
    st.sampled_from([torch.device("cpu"), torch.device("cuda:1"), torch.strided, torch.sparse_coo]),
    st.lists(st.integers(0, 9), max_size=3).map(torch.Size),
    BYTES.map(bytearray),
    st.sets(st.integers() | KEYS | st.tuples(KEYS, st.integers()), max_size=3),
    st.dictionaries(KEYS, st.integers(), max_size=3).map(Counter),
)
ODD_KEYS = st.one_of(st.integers(), st.booleans(), KEYS, st.none(), st.tuples(st.integers(), KEYS), BYTES)


REFERENCES = st.integers(0, 5).map(Reference)
SHAPES = st.recursive(
    SCALARS | REFERENCES | REFERENCES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(KEYS, REFERENCES, max_size=6),
        st.dictionaries(KEYS, REFERENCES, max_size=6).map(OrderedDict),
        st.dictionaries(ODD_KEYS, inner, max_size=3),
        st.dictionaries(ODD_KEYS, inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


@st.composite
def trees(draw):
    """A checkpoint: any tree with at least one tensor in it."""
    pool = draw(pools())
    tree = fill(draw(SHAPES), pool)
    roots = [{"model": tree, "t": pool[0]}, [tree, pool[0]], {"state_dict": {"w": pool[0]}, "x": tree}]
    return roots[draw(st.integers(0, 2))]


def fill(node, pool):
    """The tree with tensors of the pool in place of the references."""
    if isinstance(node, Reference):
        return pool[node.index % len(pool)]
    if type(node) in (list, tuple):
        return type(node)(fill(item, pool) for item in node)
    if type(node) not in (dict, OrderedDict):
        return node
    filled = type(node)((key, fill(value, pool)) for key, value in node.items())
    if type(node) is OrderedDict and all(isinstance(key, str) for key in node):
        return with_metadata(filled)
    return filled


def with_metadata(state):
    """As torch does it; one module's version is not 1, and one module has no tensors."""
    state._metadata = OrderedDict({"": {"version": 1}, "act": {"version": 1}})
    for key in state:
        parts = key.split(".")[:-1]
        for depth in range(1, len(parts) + 1):
            state._metadata[".".join(parts[:depth])] = {"version": len(parts)}
    return state


def assert_same(left, right):
    """Equal in every respect but memory: types, order, keys, bits."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.requires_grad == right.requires_grad
        assert bits(left) == bits(right)
    elif isinstance(left, (dict, list, tuple)):
        if isinstance(left, dict):
            assert_same(list(left), list(right))
            assert_same(getattr(left, "_metadata", None), getattr(right, "_metadata", None))
        assert len(left) == len(right)
        for (_, one), (_, other) in zip(children(left), children(right), strict=True):
            assert_same(one, other)
    elif isinstance(left, float):
        assert (math.isnan(left) and math.isnan(right)) or (left, math.copysign(1, left)) == (
            right,
            math.copysign(1, right),
        )
    elif isinstance(left, complex):
        assert_same((left.real, left.imag), (right.real, right.imag))
    else:
        assert left == right


def bits(tensor):
    """The values of a tensor as bytes, row-major."""
    with no_warnings():
        flat = torch.empty(tensor.shape, dtype=tensor.dtype)
        flat.copy_(tensor.detach())
    return bytes(flat.reshape(-1).view(torch.uint8).tolist()) if flat.numel() else b""


def addresses(tensor):
    """The memory address of each element, row-major."""
    places = torch.tensor(tensor.data_ptr())
    for size, step in zip(tensor.shape, tensor.stride(), strict=True):
        places = places.unsqueeze(-1) + torch.arange(size) * step * tensor.element_size()
    return places.reshape(-1).tolist()


def assert_same_aliasing(left, right):
    """Elements are shared in one tree exactly where they are in the other: one address for one address."""
    pairs = set()
    for (_, one), (_, other) in zip(tensors_in(left), tensors_in(right), strict=True):
        pairs |= {(one.dtype, a, b) for a, b in zip(addresses(one), addresses(other), strict=True)}
    assert len({(dtype, a) for dtype, a, _ in pairs}) == len(pairs)
    assert len({(dtype, b) for dtype, _, b in pairs}) == len(pairs)
