import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.codec.element_planes import plane_dtype
from weightzip.codec.plane_coding import decode_plane, encode_plane
from weightzip.entropy.rans import count
from weightzip.errors import FormatError

CONSTANT, PACKED, RANS, ZSTD = range(4)


def encoded(plane, bits):
    return encode_plane(plane, bits, count(plane, 1 << bits))


def decoded(data, num_values, bits):
    return decode_plane(np.frombuffer(data, np.uint8), 0, num_values, bits)


@given(st.sampled_from([4, 6, 8, 10, 12]), st.integers(1, 3000), st.integers(0, 12), st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_planes_come_back(bits, num_values, lost, seed):
    values = np.random.default_rng(seed).integers(0, 1 << bits, num_values) >> lost
    plane = values.astype(plane_dtype(bits))
    data = encoded(plane, bits)
    found, end = decoded(data + b"more", num_values, bits)
    assert np.array_equal(found, plane)
    assert found.dtype == plane.dtype
    assert end == len(data)


@pytest.mark.parametrize(
    ("plane", "bits", "method"),
    [
        (np.full(1000, 9, np.uint8), 8, CONSTANT),
        (np.random.default_rng(0).integers(0, 64, 100_000).astype(np.uint8), 6, PACKED),
        (np.random.default_rng(0).binomial(1000, 0.5, 100_000).astype(np.uint16), 10, RANS),
        (np.arange(100_000).astype(np.uint8), 8, ZSTD),
        (np.tile(np.arange(1000, dtype=np.uint16), 100), 10, ZSTD),
    ],
)
def test_methods_are_chosen_as_they_are_meant(plane, bits, method):
    data = encoded(plane, bits)
    assert data[0] == method
    assert np.array_equal(decoded(data, plane.size, bits)[0], plane)


def test_packed_values_of_six_bits():
    """Four parts of two values; the last part's bits are above those of the three others."""
    values = np.array([1, 2, 3, 4, 5, 6, 0b111001, 0b000110], np.uint8)
    body = bytes([1 | 0b01 << 6, 2 | 0b10 << 6, 3 | 0b10 << 6, 4 | 0b01 << 6, 5 | 0b11 << 6, 6])
    data = bytes([PACKED]) + len(body).to_bytes(4, "little") + body
    assert np.array_equal(decoded(data, 8, 6)[0], values)


def told(method, body):
    return bytes([method]) + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("data", "bits", "message"),
    [
        (b"", 8, "cut short"),
        (told(CONSTANT, b"\x01\x00")[:-1], 8, "cut short"),
        (told(PACKED, bytes(9)), 8, "9 bytes instead of 10"),
        (told(PACKED, bytes(10)), 6, "10 bytes instead of 9"),
        (told(PACKED, bytes(20)), 10, "cannot be coded by method 1"),
        (told(CONSTANT, b"\x01"), 8, "cannot be coded by method 0"),
        (told(CONSTANT, b"\x40\x00"), 6, "more than 6 bits"),
        (told(CONSTANT, b"\x00\x01"), 8, "more than 8 bits"),
        (told(ZSTD, zstandard.ZstdCompressor().compress(b"\x10" * 10)), 4, "more than 4 bits"),
        (told(ZSTD, zstandard.ZstdCompressor().compress(b"\xff" * 20)), 10, "more than 10 bits"),
        (told(ZSTD, zstandard.ZstdCompressor().compress(bytes(11))), 8, "11 bytes instead of 10"),
        (told(ZSTD, zstandard.ZstdCompressor().compress(bytes(10)) + b"x"), 8, "cannot be unpacked"),
        (told(ZSTD, b"x"), 8, "cannot be unpacked"),
        (told(4, b""), 8, "cannot be coded by method 4"),
    ],
)
def test_rejections(data, bits, message):
    with pytest.raises(FormatError, match=message):
        decoded(data, 10, bits)
