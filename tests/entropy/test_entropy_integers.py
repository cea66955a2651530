import math
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.entropy import decode_integers, encode_integers, read_integers
from weightzip.entropy.integers import deltas, trim_words, words_of
from weightzip.errors import FormatError

LARGEST = 2**31 - 1


@given(st.lists(st.one_of(st.integers(-3, 3), st.integers(-LARGEST, LARGEST)), max_size=100))
def test_round_trip(values):
    assert decode_integers(encode_integers(values), len(values)) == values


def test_the_range_ends_at_32_bits_folded():
    assert decode_integers(encode_integers([-(2**31), LARGEST]), 2) == [-(2**31), LARGEST]
    for value in (2**31, -(2**31) - 1):
        with pytest.raises(FormatError, match="magnitudes must stay below"):
            encode_integers([value])


def test_nothing_costs_nothing():
    assert encode_integers([]) == b""
    assert decode_integers(b"", 0) == []


def test_reading_one_by_one_is_decoding():
    values = [5, -3, 100000, 0, 0, 7]
    assert list(islice(read_integers(encode_integers(values)), 6)) == values


def test_it_learns_what_is_frequent():
    repeated = encode_integers([7] * 1000)
    assert len(repeated) <= 12  # one symbol: log2(25) bits to begin with, then next to nothing
    rng = np.random.default_rng(0)
    values = rng.choice([0, 1, -1, 2], 4000, p=[0.5, 0.25, 0.125, 0.125]).tolist()
    entropy_bytes = 1.75 * 4000 / 8
    assert entropy_bytes * 0.97 < len(encode_integers(values)) < entropy_bytes * 1.05


def test_it_adapts_faster_than_a_table_would_cost():
    """Ten equal values take less than the 5.8 bytes of a code that does not adapt."""
    assert len(encode_integers([4] * 10)) == 4


def test_large_values_escape_into_32_bits():
    rng = np.random.default_rng(0)
    values = rng.integers(-(2**30), 2**30, 1000).tolist()
    num_bytes = len(encode_integers(values))
    assert 4000 <= num_bytes <= 4100


@given(st.binary(max_size=40))
def test_any_bytes_decode_to_something_or_are_refused(data):
    try:
        values = decode_integers(data, 100)
    except FormatError:
        return
    assert len(values) == 100
    assert all(abs(value) <= 2**31 for value in values)


@given(st.lists(st.integers(-1000, 1000), max_size=30))
def test_deltas_are_undone_by_a_cumulative_sum(values):
    assert np.cumsum(deltas(values), dtype=np.int64).tolist() == values


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_words_lose_nothing_but_zeros_at_their_end(words):
    data = trim_words(np.array(words, np.uint32))
    back = words_of(data).tolist()
    assert back == words[: len(back)]
    assert not any(words[len(back) :])
    assert not data.endswith(b"\0")


def test_the_model_is_close_to_the_ideal_adaptive_code():
    """Bits of the estimator (24 n_s + 1) / (24 n + 25), which the docstring promises, to within a word."""
    values = [0, 0, 1, 0, 2, 0, 0, 1, 0, 0] * 30
    counts = np.ones(25)
    ideal = 0.0
    for value in values:
        folded = 2 * value
        ideal -= math.log2(counts[folded] / counts.sum())
        counts[folded] += 24
    assert ideal / 8 - 1 <= len(encode_integers(values)) <= ideal / 8 + 5
