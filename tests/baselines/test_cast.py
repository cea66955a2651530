import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.baselines import Cast

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("precision", "dtype", "bound"), [("float16", torch.half, 65504), ("bfloat16", torch.bfloat16, 3.38e38)]
)
@settings(deadline=None)
@given(values=st.lists(FLOATS, max_size=50))
def test_a_cast_is_torchs_cast(recode, precision, dtype, bound, values):
    tensor = torch.tensor([1.0, *(value for value in values if abs(value) <= bound)])
    assert torch.equal(recode(Cast(precision), {"tensor": tensor})["tensor"], tensor.to(dtype).float())


@pytest.mark.parametrize(("precision", "dtype"), [("float16", torch.half), ("bfloat16", torch.bfloat16)])
def test_halves_between_two_neighbours_round_to_even(recode, precision, dtype):
    every_kind_of_mantissa = (np.arange(1 << 16, dtype=np.uint32) + 0x3F800000).view(np.float32)
    tensor = torch.from_numpy(every_kind_of_mantissa)
    assert torch.equal(recode(Cast(precision), {"tensor": tensor})["tensor"], tensor.to(dtype).float())


@pytest.mark.parametrize("value", [1e5, 1e-6, -3.4028235e38])
def test_a_tensor_beyond_half_precision_is_kept_whole(recode, value):
    tensor = torch.tensor([value, value / 3])
    assert torch.equal(recode(Cast("float16"), {"tensor": tensor})["tensor"], tensor)


def test_the_largest_float_does_not_become_infinite_in_bfloat16(recode):
    tensor = torch.tensor([torch.finfo(torch.float32).max])
    assert torch.equal(recode(Cast("bfloat16"), {"tensor": tensor})["tensor"], tensor)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_two_bytes_a_weight_less_what_the_exponents_repeat(section_bytes, gaussian, precision):
    size = section_bytes(Cast(precision), gaussian)
    # The sign and the mantissa (10 or 7 bits) of a Gaussian are noise; its exponent holds about 2.5 bits, of which a
    # coder of bytes finds most.
    num_bits = {"float16": 1 + 10 + 2.5, "bfloat16": 1 + 7 + 2.5}[precision]
    assert 1 <= size / (100_200 * num_bits / 8) < 1.07
