"""Every target, on tensors of any shape, distribution and dtype: the file decodes to what was promised, or says why not."""

import contextlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import from_object
from weightzip.codec import Target, decode
from weightzip.errors import TargetError

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DISTRIBUTIONS = {
    "gaussian": lambda n: torch.randn(n),
    "smooth": lambda n: torch.cumsum(torch.randn(n), 0),
    "constant": lambda n: torch.full((n,), 0.37),
    "all zero": lambda n: torch.zeros(n),
    "one outlier": lambda n: torch.cat([torch.randn(n)[1:], torch.full((min(n, 1),), 3e4)]),
    "heavy tails": lambda n: (torch.randn(n) / torch.randn(n).abs().clamp_min(1e-3)).clamp(-6e4, 6e4),
    "integers": lambda n: torch.randint(-5, 6, (n,)).float(),
    "subnormal": lambda n: torch.randn(n) * 1e-41,
}


@st.composite
def states(draw):
    """Up to four tensors, scalars, empty ones and 1-D to 6-D, each with a distribution of its own."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    shape = st.lists(st.integers(0, 6), max_size=6).filter(lambda sizes: math.prod(sizes) <= 5000)
    shapes = draw(st.lists(shape, min_size=1, max_size=4))
    kinds = draw(st.lists(st.sampled_from(sorted(DISTRIBUTIONS)), min_size=len(shapes), max_size=len(shapes)))
    dtype = draw(st.sampled_from(DTYPES))
    return {
        f"t{k}": DISTRIBUTIONS[kind](math.prod(shape)).reshape(shape).to(dtype)
        for k, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    }


def restored_from(encode_to_target, state, target, evaluate=None):
    """The tensors decoded from the file that meets the target, after what holds for any target was checked, and its size."""
    file = encode_to_target(from_object(state), target, evaluate=evaluate).pack()
    tensors = decode(file).tensors
    assert list(tensors) == list(state)
    for name, tensor in state.items():
        assert (tensors[name].shape, tensors[name].dtype) == (tensor.shape, tensor.dtype)
        assert torch.isfinite(tensors[name]).all()
    return tensors, len(file)


def largest_error(state, tensors):
    errors = [(tensors[name].double() - tensor.double()).abs().max() for name, tensor in state.items() if tensor.numel()]
    return float(max(errors, default=torch.zeros(())))


@given(states())
@settings(max_examples=80)
def test_the_default_quality(encode_to_target, state):
    restored_from(encode_to_target, state, Target())


@given(states(), st.sampled_from([1e-320, 1e-6, 1e-3, 0.1, 1.0, 1e6]))
@settings(max_examples=120)
def test_no_element_is_off_by_more_than_asked(encode_to_target, state, max_error):
    tensors, _ = restored_from(encode_to_target, state, Target(max_error=max_error))
    assert largest_error(state, tensors) <= max_error


@given(states(), st.sampled_from([Target(ratio=0.5), Target(ratio=2.0), Target(bpw=64.0), Target(bpw=5.0)]))
@settings(max_examples=12)
def test_a_size_is_kept_or_refused(encode_to_target, state, target):
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    weights = sum(tensor.numel() for tensor in state.values())
    limit = num_bytes / target.ratio if target.ratio else target.bpw * weights / 8
    with contextlib.suppress(TargetError):  # nearly nothing but a header is a file of more bytes than that
        _, size = restored_from(encode_to_target, state, target)
        assert size <= limit


@given(states(), st.sampled_from([0.0, 0.1, 10.0]))
@settings(max_examples=8)
def test_a_drop_is_kept(encode_to_target, state, max_drop):
    def metric(tensors):
        return -largest_error(state, tensors)

    tensors, _ = restored_from(encode_to_target, state, Target(max_drop=max_drop), metric)
    assert largest_error(state, tensors) <= max_drop


LONG_AND_THIN = [(5000, 1), (1, 5000), (5000,), (1, 1, 1, 1, 1, 1), (2, 3, 1, 4, 1, 5), (40000, 2), (1, 1, 4097)]


@pytest.mark.parametrize("shape", LONG_AND_THIN)
def test_long_and_thin_tensors(encode_to_target, shape):
    state = {"w": torch.randn(shape, generator=torch.Generator().manual_seed(0))}
    tensors, _ = restored_from(encode_to_target, state, Target())
    assert float((tensors["w"] - state["w"]).square().mean()) < 0.1
