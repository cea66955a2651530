import math

import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import dtype_name, dtype_of
from weightzip.codec import LosslessCodec
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float4_e2m1fn_x2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
    *("float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"),
]


def arbitrary(dtype, shape, seed=0):
    """A tensor of arbitrary bytes: NaNs with any payload, infinities, subnormals and negative zeros among them."""
    count = math.prod(shape) * dtype.itemsize
    data = torch.randint(0, 2 if dtype is torch.bool else 256, (count,), dtype=torch.uint8, generator=generator(seed))
    return data.view(dtype).reshape(shape)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def specs_of(tensors):
    return [TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in tensors.items()]


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@given(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=6)), max_size=5),
    st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_every_dtype_and_shape_comes_back_bit_for_bit(same_bits, kinds, seed):
    tensors = {str(k): arbitrary(dtype_of(name), tuple(shape), seed + k) for k, (name, shape) in enumerate(kinds)}
    restored = LosslessCodec.decode(LosslessCodec().encode(tensors), specs_of(tensors))
    assert list(restored) == list(tensors)
    assert all(same_bits(restored[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_through_a_file(through_bytes, same_bits, dtype):
    tensor = arbitrary(dtype_of(dtype), (5, 8))
    assert same_bits(through_bytes({"t": tensor}, LosslessCodec()).tensors["t"], tensor)


def test_what_is_not_a_number_keeps_its_payload(through_bytes, same_bits):
    bits = torch.tensor([0x7FC00000, 0x7F800001, -1, 0x7F800000, -(2**31), 1], dtype=torch.int32)
    tensor = bits.view(torch.float32)  # quiet, signalling and negative NaN; infinity; -0.0; the smallest subnormal
    assert same_bits(through_bytes({"t": tensor}, LosslessCodec()).tensors["t"], tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_restored_tensor_can_be_written_to(dtype):
    """Tensors over bytes objects would be read-only memory."""
    tensors = {"first": arbitrary(dtype_of(dtype), (4,)), "second": arbitrary(dtype_of(dtype), (4,), seed=1)}
    payload = LosslessCodec().encode(tensors)
    restored = LosslessCodec.decode(payload, specs_of(tensors))
    restored["first"].view(torch.uint8).fill_(1)
    again = LosslessCodec.decode(payload, specs_of(tensors))
    assert torch.equal(again["first"].view(torch.uint8), tensors["first"].view(torch.uint8))
    assert torch.equal(restored["second"].view(torch.uint8), tensors["second"].view(torch.uint8))


def test_regrouped_bytes_beat_plain_zstandard():
    tensors = {"w": torch.randn(200, 200)}
    plain = len(zstandard.ZstdCompressor(level=19).compress(tensors["w"].numpy().tobytes()))
    coded = len(LosslessCodec().encode(tensors).sections["exact"])
    assert coded < 0.95 * plain
    assert coded > 0.8 * 160_000  # Gaussian float32 weights hold 3.2 bytes or more


def test_nothing_is_no_section():
    assert LosslessCodec().encode({}).sections == {}
    assert LosslessCodec().encode({"t": torch.zeros(0, 3)}).sections == {}


def decode(data, count=4):
    return LosslessCodec.decode(Payload({"exact": data}), [TensorSpec("t", (count,), "float32")])


@pytest.mark.parametrize("data", [b"", b"x", b"\x28\xb5\x2f\xfd", zstandard.ZstdCompressor().compress(bytes(16))[:-1]])
def test_bytes_that_cannot_be_unpacked(data):
    with pytest.raises(FormatError, match="cannot be unpacked"):
        decode(data)


@pytest.mark.parametrize("num_bytes", [0, 15, 17, 1000])
def test_a_size_that_does_not_fit_the_tensors(num_bytes):
    with pytest.raises(FormatError, match=f"unpack to {num_bytes:,} bytes instead of 16"):
        decode(zstandard.ZstdCompressor().compress(bytes(num_bytes)))


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    with pytest.raises(FormatError, match="104,857,600 bytes instead of 16"):
        decode(bomb)


def test_a_frame_that_does_not_say_its_size():
    with pytest.raises(FormatError, match="unpack to -1 bytes instead of 16"):
        decode(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(16)))


def test_a_section_for_tensors_without_elements_is_refused():
    with pytest.raises(FormatError):
        decode(b"x", count=0)
