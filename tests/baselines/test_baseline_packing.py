"""Packing of bytes and bits, against what they would cost in theory and against what a hostile file may claim."""

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from weightzip.baselines.floats import as_stored, float_bytes
from weightzip.baselines.packing import index_bytes, pack, pack_bits, unpack, unpack_bits, varint
from weightzip.baselines.reader import Reader
from weightzip.errors import FormatError


@given(st.binary(max_size=300))
def test_pack_round_trips_and_never_adds_more_than_a_byte(data):
    assert unpack(pack(data), "any", at_most=len(data)) == data
    assert len(pack(data)) <= len(data) + 1


def test_pack_uses_zstandard_where_it_helps():
    assert len(pack(bytes(10_000))) < 50


@given(st.integers(1, 8), st.integers(0, 100), st.integers(0, 2**32))
def test_bits_round_trip_in_the_fewest_bytes(bits, count, seed):
    indices = np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8)
    packed = pack_bits(indices, bits)
    assert len(packed) == -(-count * bits // 8)
    assert np.array_equal(unpack_bits(packed, count, bits), indices)


@pytest.mark.parametrize("bits", [1, 3, 7])
def test_bits_round_trip_beyond_one_chunk(bits):
    indices = np.random.default_rng(0).integers(0, 2**bits, (1 << 20) + 13).astype(np.uint8)
    assert np.array_equal(unpack_bits(pack_bits(indices, bits), len(indices), bits), indices)


def test_skewed_indices_cost_about_their_entropy_and_not_their_bits():
    probabilities = np.array([0.7, 0.15, 0.05, 0.04, 0.03, 0.01, 0.01, 0.01])
    indices = np.random.default_rng(0).choice(8, 100_000, p=probabilities).astype(np.uint8)
    entropy_bytes = -(probabilities * np.log2(probabilities)).sum() * len(indices) / 8
    assert entropy_bytes < len(index_bytes(indices, 3)) < 1.12 * entropy_bytes < 0.6 * 100_000 * 3 / 8


@given(st.integers(0, 2**63 - 1))
def test_varints_round_trip(value):
    reader = Reader("any", varint(value))
    assert reader.integer(at_most=2**63 - 1) == value
    reader.finish()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_floats_come_back_as_the_encoder_foresaw(precision, values):
    array = np.array(values, np.float32)
    reader = Reader("any", float_bytes(array, precision))
    assert np.array_equal(reader.floats(len(array)), as_stored(array, precision))
    reader.finish()


def test_a_frame_that_declares_more_than_allowed_is_refused_before_it_is_unpacked():
    bomb = b"\1" + zstandard.compress(bytes(1 << 20))
    with pytest.raises(FormatError, match=r"declares 1,048,576 bytes.*at most 1,000"):
        unpack(bomb, "values", at_most=1000)


def test_a_frame_that_declares_no_size_is_refused():
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(FormatError, match="declares -1 bytes"):
        unpack(b"\1" + frame, "values", at_most=1000)


def test_stored_bytes_beyond_the_limit_are_refused():
    with pytest.raises(FormatError, match="holds 11 bytes"):
        unpack(b"\0" + bytes(11), "values", at_most=10)


def test_an_unknown_packing_is_refused():
    with pytest.raises(FormatError, match="unknown packing 07"):
        unpack(b"\7abc", "values", at_most=10)


def test_an_empty_section_is_refused():
    with pytest.raises(FormatError, match="unknown packing"):
        unpack(b"", "values", at_most=10)


@pytest.mark.parametrize("frame", [b"no frame", zstandard.compress(bytes(50))[:-1], zstandard.compress(b"a") + b"b"])
def test_broken_frames_are_refused(frame):
    with pytest.raises(FormatError, match="not a valid zstandard frame"):
        unpack(b"\1" + frame, "values", at_most=100)


def test_a_frame_whose_content_is_longer_than_declared_is_refused():
    frame = bytearray(zstandard.compress(bytes(200)))
    assert frame[5] == 200, "the declared size is the byte after magic and descriptor"
    frame[5] = 100
    with pytest.raises(FormatError, match="not a valid zstandard frame"):
        unpack(b"\1" + bytes(frame), "values", at_most=100)
