import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.entropy.buckets import MAX_MAGNITUDE, Buckets
from weightzip.errors import FormatError

INTEGERS = st.lists(st.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE), max_size=50)


@given(INTEGERS, st.integers(1, 16))
def test_join_undoes_split(values, direct_log2):
    buckets = Buckets(direct_log2)
    array = np.array(values, np.int32)
    symbols, extra, num_extra = buckets.split(array)
    assert buckets.join(symbols, extra).tolist() == values
    assert buckets.num_extra(symbols).tolist() == num_extra.tolist()  # the decoder must know without being told
    assert all(0 <= symbol < buckets.alphabet for symbol in symbols.tolist())
    assert all(bits < 1 << width for bits, width in zip(extra.tolist(), num_extra.tolist(), strict=True))


@pytest.mark.parametrize("direct_log2", [1, 4, 8, 16])
def test_every_boundary_of_an_octave(direct_log2):
    buckets = Buckets(direct_log2)
    edges = np.array([(1 << k) + d for k in range(31) for d in (-1, 0, 1)] + [MAX_MAGNITUDE], np.int64)
    values = np.concatenate([edges, -edges]).astype(np.int32)
    symbols, extra, _ = buckets.split(values)
    assert np.array_equal(buckets.join(symbols, extra), values)


def test_small_magnitudes_have_a_symbol_of_their_own_and_large_ones_two_per_octave():
    buckets = Buckets(4)
    symbols, extra, num_extra = buckets.split(np.array([0, 1, -1, 15, 16, 23, 24, 31, 32], np.int32))
    assert symbols.tolist() == [0, 1, 2, 29, 31, 31, 33, 33, 35]
    assert num_extra.tolist() == [0, 0, 0, 0, 3, 3, 3, 3, 4]
    assert extra.tolist() == [0, 0, 0, 0, 0, 7, 0, 7, 0]


def test_the_largest_magnitude_uses_the_last_symbol():
    buckets = Buckets(8)
    symbols, _, num_extra = buckets.split(np.array([-MAX_MAGNITUDE], np.int32))
    assert (symbols[0], num_extra[0]) == (buckets.alphabet - 1, 29)


def test_a_magnitude_of_2_to_the_31_is_refused():
    with pytest.raises(FormatError, match="below 2\\^31"):
        Buckets(4).split(np.array([-(2**31)], np.int32))
