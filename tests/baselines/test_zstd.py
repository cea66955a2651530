import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.baselines import Zstd

FLOATS = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("layout", ["raw", "planes"])
@settings(deadline=None)
@given(values=st.lists(FLOATS, max_size=50))
def test_every_bit_comes_back(recode, layout, values):
    tensors = {"tensor": torch.tensor(values), "zeros": torch.tensor([0.0, -0.0])}
    restored = recode(Zstd(3, layout), tensors)
    assert all(torch.equal(restored[name].view(torch.int32), tensors[name].view(torch.int32)) for name in tensors)


def test_random_weights_hardly_shrink_but_their_exponents_do(section_bytes, gaussian):
    num_bytes = 4 * 100_200
    assert 0.9 * num_bytes < section_bytes(Zstd(19), gaussian) <= num_bytes + 1
    # 24 bits of sign and mantissa are noise, the exponent holds about 2.5, of which a coder of bytes finds most.
    assert 1 <= section_bytes(Zstd(19, "planes"), gaussian) / (num_bytes * 26.5 / 32) < 1.03


def test_repeated_tensors_are_stored_once(section_bytes, gaussian):
    twice = {"first": gaussian["weight"], "second": gaussian["weight"].clone()}
    once = {"first": gaussian["weight"]}
    assert section_bytes(Zstd(19), twice) < 1.02 * section_bytes(Zstd(19), once)


def test_the_level_counts(section_bytes):
    text_like = {"weight": torch.arange(60_000).remainder(977).sin().reshape(200, 300)}
    assert section_bytes(Zstd(22), text_like) <= section_bytes(Zstd(1), text_like)
