import contextlib
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.entropy import decode, encode, encode_integers
from weightzip.entropy.buckets import MAX_MAGNITUDE
from weightzip.errors import FormatError

VALUES = st.lists(
    st.one_of(st.integers(-2, 2), st.integers(-300, 300), st.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE)), max_size=200
)


@st.composite
def classified(draw):
    """Values and a class for each of them."""
    values = draw(VALUES)
    classes = draw(st.lists(st.integers(0, 255), min_size=len(values), max_size=len(values)))
    return np.array(values, np.int32), np.array(classes, np.uint8)


def empirical_bits(values, classes=None):
    """Entropy of the values within their classes, in bits, with the exact frequencies."""
    classes = np.zeros(len(values), np.uint8) if classes is None else classes
    bits = 0.0
    for scale_class in np.unique(classes):
        _, counts = np.unique(values[classes == scale_class], return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    return bits


@given(VALUES)
def test_round_trip(values):
    array = np.array(values, np.int32)
    assert decode(encode(array), len(values)).tolist() == values


@given(classified())
def test_round_trip_with_classes(pair):
    values, classes = pair
    assert np.array_equal(decode(encode(values, classes), len(values), classes), values)


@given(classified(), st.integers(1, 9))
def test_slices_make_no_difference(pair, size):
    """Decoding looks at a slice at a time; classes and extra bits go through all of them."""
    values, classes = pair
    with pytest.MonkeyPatch.context() as patch:
        data = encode(values, classes)
        patch.setattr("weightzip.entropy.coder._SLICE", size)
        assert np.array_equal(decode(data, len(values), classes), values)
        assert decode(encode(values), len(values)).tolist() == values.tolist()


@pytest.mark.parametrize(("scale", "bytes_per_value"), [(2, 6), (2**20, 10)])
def test_decoding_takes_little_memory(scale, bytes_per_value):
    count = 3_000_000
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 20, count).astype(np.uint8)
    data = encode((scale * rng.normal(size=count)).astype(np.int32), classes)
    tracemalloc.start()
    try:
        decode(data, count, classes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 4 * count < peak < bytes_per_value * count + (25 << 20)


def test_nothing_costs_nothing():
    assert encode(np.zeros(0, np.int32)) == b""
    assert decode(b"", 0).size == 0


@pytest.mark.parametrize("value", [0, 1, -15, 16, MAX_MAGNITUDE, -MAX_MAGNITUDE])
def test_a_single_symbol(value):
    assert decode(encode(np.array([value], np.int32)), 1).tolist() == [value]


@pytest.mark.parametrize("value", [0, -3, 1000])
def test_a_constant_costs_next_to_nothing(value):
    data = encode(np.full(100_000, value, np.int32))
    raw_bits = max(0, math.floor(math.log2(abs(value) or 1)) - 1) if abs(value) >= 256 else 0
    assert len(data) <= raw_bits * 100_000 / 8 + 60
    assert np.array_equal(decode(data, 100_000), np.full(100_000, value, np.int32))


@pytest.mark.parametrize("deviation", [0.3, 1.0, 4.0])
def test_bell_shaped_values_take_their_entropy(deviation):
    values = np.rint(np.random.default_rng(0).normal(0, deviation, 200_000)).astype(np.int32)
    entropy = empirical_bits(values) / 8
    assert entropy < len(encode(values)) < 1.004 * entropy + 60


def test_uniform_indices_take_their_logarithm():
    values = np.random.default_rng(0).integers(0, 200, 200_000).astype(np.int32)
    entropy = 200_000 * math.log2(200) / 8
    assert 0.999 * entropy < len(encode(values)) < 1.004 * entropy + 200


def test_outliers_do_not_make_the_table_long():
    values = np.rint(np.random.default_rng(0).normal(0, 1, 10_000)).astype(np.int32)
    plain = len(encode(values))
    values[::1000] = 2**30 + np.arange(10)
    assert len(encode(values)) < plain + 10 * 8 + 60  # ten outliers of 30 bits each, and their symbols' logarithms


def test_classes_pay_where_scales_differ():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.array([0, 1, 2], np.uint8), 20_000)
    values = np.rint(rng.normal(0, np.array([0.2, 1.0, 8.0])[classes])).astype(np.int32)
    within = empirical_bits(values, classes) / 8
    assert within < len(encode(values, classes)) < 1.006 * within + 150
    assert len(encode(values)) > 1.15 * len(encode(values, classes))


def test_the_wrong_classes_do_not_give_the_values_back():
    values = np.arange(-50, 50, dtype=np.int32)
    classes = (np.arange(100) % 2).astype(np.uint8)
    data = encode(values, classes)
    assert not np.array_equal(decode(data, 100, 1 - classes), values)


def test_a_class_without_a_table_is_refused():
    data = encode(np.zeros(10, np.int32), np.zeros(10, np.uint8))
    with pytest.raises(FormatError, match="no frequency table"):
        decode(data, 10, np.full(10, 3, np.uint8))


GOLDEN_VALUES = np.array([0, 0, 1, -1, 0, 2, 0, 0, -7, 0, 1, 0, 300, 0, -70000, 0, 0, 1, -1, 0], np.int32)
GOLDEN_CLASSES = np.array([0, 1] * 10, np.uint8)


def test_golden_bytes():
    """Files that exist must stay readable: neither constriction nor this room may change what these bytes mean."""
    plain = bytes.fromhex(
        "5400003800006d488b5299c78e92d740636d26350f5a260e5646b8231c8d00717e8c87e422424f72c439aa95cc86501b8e1c5da82bf773c7a35400a8305a229308edff216ff535"
    )
    classed = bytes.fromhex(
        "590000400000d747f65285d50c62f4fd1b50da9d4169260e568eb8c3a48e0035028d87e422424ffa5ca06826b78d0becf2f854c43011234c8ef1cca06b46b6f9e97920229fa1065698e3b3c154de01"
    )
    integers = bytes.fromhex("68649d03c5ee201ff1dc7f651b343f0425b126fc")
    assert encode(GOLDEN_VALUES) == plain
    assert encode(GOLDEN_VALUES, GOLDEN_CLASSES) == classed
    assert encode_integers(GOLDEN_VALUES.tolist()) == integers
    assert np.array_equal(decode(plain, 20), GOLDEN_VALUES)
    assert np.array_equal(decode(classed, 20, GOLDEN_CLASSES), GOLDEN_VALUES)


def test_every_truncation_is_refused_or_decodes_to_something():
    data = encode(GOLDEN_VALUES, GOLDEN_CLASSES)
    for length in range(len(data)):
        with contextlib.suppress(FormatError):
            assert decode(data[:length], 20, GOLDEN_CLASSES).shape == (20,)


@pytest.mark.parametrize("length", range(6))
def test_too_short_for_a_table(length):
    with pytest.raises(FormatError, match="cut short"):
        decode(bytes(length), 1)


@given(st.integers(0, 10_000), st.integers(0, 7))
@settings(max_examples=300)
def test_every_flipped_bit_is_refused_or_decodes_to_something(position, bit):
    data = bytearray(encode(GOLDEN_VALUES, GOLDEN_CLASSES))
    data[position % len(data)] ^= 1 << bit
    with contextlib.suppress(FormatError):
        assert decode(bytes(data), 20, GOLDEN_CLASSES).shape == (20,)


@given(st.binary(max_size=60), st.integers(1, 50))
@settings(max_examples=300)
def test_any_bytes_are_refused_or_decode_to_something(data, count):
    with contextlib.suppress(FormatError):
        assert decode(data, count).shape == (count,)


def table_bytes(integers, announced=None):
    """Coded integers as `encode` writes them: how many, how long, and then the list."""
    coded = encode_integers(integers)
    return (len(integers) if announced is None else announced).to_bytes(3, "little") + len(coded).to_bytes(3, "little") + coded


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (table_bytes([4], announced=(1 << 18) + 1), "longer than allowed"),
        (b"\1\0\0\xff\xff\xff", "longer than allowed or than the data"),
        (table_bytes([5, 1, 1, 80]), "unknown alphabet"),
        (table_bytes([4, 1, 200, *[0] * 200]), "longer than its alphabet"),
        (table_bytes([4, 1, 3, 80]), "ends early"),
        (table_bytes([4, 2, 1, 80]), "ends early"),
        (table_bytes([4, 1, 1, 80, 9]), "more than they announce"),
        (table_bytes([4, 300, *[0] * 300]), "more than they announce"),
        (table_bytes([4, 1, 1, 81]), "out of range"),
        (table_bytes([4, 1, 1, -1]), "out of range"),
        (table_bytes([4, 1, 2, 0, 0]), "no frequency table"),
    ],
)
def test_a_hostile_table_is_refused(data, match):
    with pytest.raises(FormatError, match=match):
        decode(data, 1)
