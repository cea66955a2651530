import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.entropy.quotients import high_product, reciprocals
from weightzip.entropy.rans import count, decode_symbols, encode_symbols, expected_bytes, normalise
from weightzip.errors import FormatError
from weightzip.kernels import kernel


@kernel
def quotient(value, reciprocal, shift):
    return high_product(np.uint64(value), reciprocal) >> shift


def round_trip(symbols, alphabet):
    data = encode_symbols(symbols, count(symbols, alphabet))
    decoded = np.empty_like(symbols)
    decode_symbols(np.frombuffer(data, np.uint8), decoded, alphabet)
    assert np.array_equal(decoded, symbols)
    return data


def skewed(num_symbols, alphabet, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if alphabet <= 256 else np.uint16
    return np.minimum(rng.geometric(0.1, num_symbols) * 3, alphabet - 1).astype(dtype)


@given(
    st.sampled_from([(np.uint8, 256), (np.uint8, 16), (np.uint16, 1024), (np.uint16, 4096)]),
    st.integers(1, 3000),
    st.floats(0, 8),
    st.integers(0, 2**32),
)
@settings(max_examples=80, deadline=None)
def test_any_symbols_come_back(kind, num_symbols, skew, seed):
    dtype, alphabet = kind
    uniform = np.random.default_rng(seed).random(num_symbols)
    round_trip((uniform**skew * (alphabet - 1)).astype(dtype), alphabet)


@pytest.mark.parametrize("num_symbols", range(1, 18))
def test_every_length_near_a_whole_lot(num_symbols):
    round_trip(skewed(num_symbols, 256), 256)


def test_one_symbol_alone_takes_no_words():
    assert len(round_trip(np.full(1000, 1023, np.uint16), 1024)) < 40


def test_every_symbol_of_the_largest_alphabet_at_once():
    symbols = np.arange(4096, dtype=np.uint16)
    assert len(round_trip(symbols, 4096)) == pytest.approx(4096 * 12 / 8 + 4096 + 32, rel=0.01)


def test_close_to_the_entropy():
    """Integer frequencies of 12 bits cost something, but not 1%."""
    symbols = skewed(200_000, 1024)
    counts = count(symbols, 1024)
    shares = counts[counts > 0] / symbols.size
    entropy_bytes = -(shares * np.log2(shares)).sum() * symbols.size / 8
    coded = len(encode_symbols(symbols, counts))
    assert entropy_bytes < coded < 1.01 * entropy_bytes
    assert expected_bytes(counts) == pytest.approx(coded, rel=0.01)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=4096).filter(any))
@settings(deadline=None)
def test_frequencies_sum_to_the_total_and_leave_nothing_out(counts):
    frequencies = normalise(np.array(counts, np.int64))
    assert frequencies.sum() == 4096
    assert np.array_equal(frequencies > 0, np.array(counts) > 0)


@given(st.integers(2, 4096), st.integers(1, 2**63 - 1))
@settings(deadline=None)
def test_quotients_are_exact(divisor, value):
    factors, shifts = reciprocals(4096)
    for near in {value, value // divisor * divisor or 1, max(value // divisor * divisor - 1, 1)}:
        assert quotient(np.uint64(near), factors[divisor], shifts[divisor]) == near // divisor
    assert quotient(np.uint64(value), factors[1], shifts[1]) == value - 1


def test_counts():
    symbols = skewed(1003, 256)
    assert np.array_equal(count(symbols, 256), np.bincount(symbols, minlength=256))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_is_refused_or_gives_symbols_of_the_alphabet(data):
    symbols = skewed(500, 64)
    coded = bytearray(encode_symbols(symbols, count(symbols, 64)))
    for _ in range(data.draw(st.integers(1, 4))):
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
    del coded[data.draw(st.integers(0, len(coded))) :]
    decoded = np.empty(data.draw(st.sampled_from([1, 499, 500, 501, 100_000])), np.uint8)
    try:
        decode_symbols(np.frombuffer(bytes(coded), np.uint8), decoded, 64)
    except FormatError:
        return
    assert decoded.max() < 64


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_do_no_harm(data):
    with pytest.raises(FormatError):
        decode_symbols(np.frombuffer(data, np.uint8), np.empty(4000, np.uint8), 256)


FLAT_TABLE = bytes([0, 2, 255, 15, 255, 15])  # symbols 0 and 1, 2^11 each
STATES = (1 << 29).to_bytes(8, "little") * 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "table is damaged"),
        (b"\x80", "table is damaged"),  # ends within an integer
        (b"\x00\x01\x80\x80\x01", "table is damaged"),  # an integer of three bytes
        (b"\x00\x00\xff\x1f", "table is damaged"),  # no symbol present
        (b"\x00\x02\xff\x1f\x00", "table is damaged"),  # one more than the total
        (b"\x10\x01\xff\x1f", "table is damaged"),  # symbol 16 of an alphabet of 16
        (FLAT_TABLE[:-1], "table is damaged"),
        (FLAT_TABLE, "cut short"),
        (FLAT_TABLE + STATES[:-1], "cut short"),
        (FLAT_TABLE + STATES + b"\x00", "cut short"),
        (FLAT_TABLE + STATES, "end where it should"),  # words are missing
        (FLAT_TABLE + STATES + bytes(4 * 1000), "end where it should"),  # words are left
    ],
)
def test_rejections(table, message):
    with pytest.raises(FormatError, match=message):
        decode_symbols(np.frombuffer(table, np.uint8), np.empty(800, np.uint8), 16)


def test_the_format_is_what_the_docstring_says():
    """Decoded by plain integers, as another implementation would."""
    symbols = skewed(21, 256)
    data = encode_symbols(symbols, count(symbols, 256))
    frequencies, at, symbol = [0] * 256, 0, 0

    def integer():
        nonlocal at
        value, shift = 0, 0
        while True:
            at += 1
            value |= (data[at - 1] & 127) << shift
            shift += 7
            if data[at - 1] < 128:
                return value

    while sum(frequencies) < 4096:
        symbol += integer()
        for _ in range(integer()):
            frequencies[symbol] = integer() + 1
            symbol += 1
    states = [int.from_bytes(data[at + 8 * k : at + 8 * k + 8], "little") for k in range(4)]
    at += 32
    found = []
    for k in range(24):
        x = states[k // 2 % 4]
        name, start = 0, 0
        while x % 4096 >= start + frequencies[name]:
            start += frequencies[name]
            name += 1
        found.append(name)
        x = frequencies[name] * (x // 4096) + x % 4096 - start
        if k % 2 and x < 1 << 29:
            x = x << 32 | int.from_bytes(data[at : at + 4], "little")
            at += 4
        states[k // 2 % 4] = x
    assert found[:21] == symbols.tolist()
    assert states == [1 << 29] * 4
    assert at == len(data)
