import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.checkpoint import dtype_of, specs_of
from weightzip.codec import LosslessCodec
from weightzip.errors import DamagedFileError, FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.threads import limited_threads

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


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@given(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=6)), max_size=5),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
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


def test_inputs_are_left_as_they_are_and_may_be_mapped(same_bits, tmp_path):
    """Read-only, and at an odd address, as in a file that is mapped into memory."""
    tensor = torch.randn(50_000)
    path = tmp_path / "weights"
    path.write_bytes(b"x" + tensor.numpy().tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of what cannot be written to
        mapped = torch.from_numpy(np.memmap(path, np.uint8, "r")[1:]).view(torch.uint8)
        assert LosslessCodec().encode({"t": mapped}).sections
    restored = LosslessCodec.decode(LosslessCodec().encode({"t": mapped}), specs_of({"t": mapped}))["t"]
    assert same_bits(restored.view(torch.float32), tensor)
    assert path.read_bytes()[1:] == tensor.numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int64", "uint8"])
def test_small_and_large_tensors_mixed(same_bits, dtype):
    """Several groups, blocks that several tensors share, and tensors of several blocks."""
    shapes = [(), (3,), (70_001,), (0, 5), (40, 41), (9,), (300_000,), (8,), (20_000,)]
    tensors = {}
    for k, shape in enumerate(shapes):
        tensors[f"w{k}"] = torch.randn(shape, generator=generator(k)).to(dtype_of(dtype))
        tensors[f"n{k}"] = torch.tensor(k)
    restored = LosslessCodec.decode(LosslessCodec().encode(tensors), specs_of(tensors))
    assert list(restored) == list(tensors)
    assert all(same_bits(restored[name], tensor) for name, tensor in tensors.items())


def test_threads_do_not_change_the_bytes():
    tensors = {"a": torch.randn(400_000), "b": torch.randn(300_000).bfloat16(), "c": torch.arange(5)}
    with limited_threads(1):
        alone = LosslessCodec().encode(tensors)
    with limited_threads(3):
        assert LosslessCodec().encode(tensors) == alone
        restored = LosslessCodec.decode(alone, specs_of(tensors))
    assert all(torch.equal(restored[name], tensor) for name, tensor in tensors.items())


def size_of(*tensors):
    coded = LosslessCodec().encode({str(k): tensor for k, tensor in enumerate(tensors)})
    return sum(map(len, coded.sections.values()))


@pytest.mark.parametrize(
    (
        "dtype",
        "bits",
    ),  # of Gaussian weights: the entropy of exponent and first bits of the mantissa, and the others as they are
    [
        ("bfloat16", 4.47 + 6),
        ("float32", 4.47 + 22),
        ("float16", 5.46 + 8),
        ("float64", 3.49 + 51.9),
    ],  # torch's last bits recur
)
def test_gaussian_weights_take_their_entropy(dtype, bits):
    weights = (0.02 * torch.randn(1 << 19, dtype=torch.float64, generator=generator(0))).to(dtype_of(dtype))
    assert 8 * size_of(weights) / (1 << 19) == pytest.approx(bits, abs=0.03)


def test_pruned_weights_take_little_more_than_what_is_left():
    weights = torch.randn(1 << 18, generator=generator(0))
    mask = torch.rand(1 << 18, generator=generator(1)) < 0.1
    share = 0.1 * 26.6 / 8 + 0.469 / 8
    assert size_of(torch.where(mask, weights, 0)) < 1.02 * share * (1 << 18)
    assert size_of(mask * weights) < 1.02 * (share + 0.9 / 8) * (1 << 18)  # which leaves -0.0 for half of them


def test_what_recurs_takes_little():
    assert size_of(torch.zeros(1 << 20)) < 500
    assert size_of(torch.arange(1 << 17)) < 4000
    assert size_of(torch.randn(1, 1000).expand(200, 1000).contiguous()) < 80_000
    assert size_of(*(torch.tensor(k) for k in range(1000))) < 1000


def test_what_cannot_be_compressed_hardly_grows():
    for dtype in DTYPES[1:]:
        assert size_of(arbitrary(dtype_of(dtype), (1 << 16,))) < dtype_of(dtype).itemsize * (1 << 16) + 200


def test_nothing_is_no_section():
    assert LosslessCodec().encode({}).sections == {}
    assert LosslessCodec().encode({"t": torch.zeros(0, 3)}).sections == {}
    assert list(LosslessCodec.decode(Payload({}), specs_of({"t": torch.zeros(0, 3)}))) == ["t"]


TENSORS = {"w": torch.randn(3000, generator=generator(0)), "n": torch.arange(100), "b": torch.zeros(7, dtype=torch.bool)}
FLIPS = st.tuples(st.integers(0, 10**9), st.integers(1, 255))
SECTION = LosslessCodec().encode(TENSORS).sections["exact"]


def decode(data, specs=None):
    return LosslessCodec.decode(Payload({"exact": data}), specs or specs_of(TENSORS))


@given(st.integers(0, len(SECTION) - 1))
@settings(max_examples=60, deadline=None)
def test_a_section_cut_short(size):
    with pytest.raises(FormatError):
        decode(SECTION[:size])


@given(st.lists(FLIPS, min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_damage_is_always_noticed(flips):
    """But for bits that have no effect, as in the frame of zstandard."""
    data = bytearray(SECTION)
    for position, flip in flips:
        data[position % len(SECTION)] ^= flip
    try:
        restored = decode(bytes(data))
    except FormatError:
        return
    assert all(torch.equal(restored[name], tensor) for name, tensor in TENSORS.items())


def test_another_digest():
    with pytest.raises(DamagedFileError, match="not those that were stored"):
        decode(bytes([SECTION[0] ^ 1]) + SECTION[1:])


@pytest.mark.parametrize("shape", [(2999,), (3001,), (1,), (2**40,), (2**61,), (2**20, 2**40)])
def test_tensors_of_another_size_are_refused_before_they_are_allocated(shape):
    with pytest.raises(FormatError):
        decode(SECTION, [TensorSpec("w", shape, "float32"), *specs_of(TENSORS)[1:]])


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "float32"])
def test_tensors_of_another_dtype(dtype):
    with pytest.raises(FormatError):
        decode(SECTION, [TensorSpec("w", (3000,), dtype), *specs_of(TENSORS)[1:]])


def test_bytes_behind_the_last_block():
    with pytest.raises(FormatError, match="1 bytes follow"):
        decode(SECTION + b"x")


def test_a_section_for_tensors_without_elements_is_refused():
    with pytest.raises(FormatError, match="no tensors for them"):
        decode(b"x", [TensorSpec("t", (0,), "float32")])


def test_no_section_for_tensors_with_elements():
    with pytest.raises(FormatError, match="missing"):
        LosslessCodec.decode(Payload({}), specs_of(TENSORS))


def test_a_block_without_elements():
    with pytest.raises(FormatError, match="has 0 elements"):
        decode(bytes(32 + 9), [TensorSpec("t", (4,), "float32")])


def test_a_block_of_more_elements_than_a_block_may_have():
    with pytest.raises(FormatError, match="has 1,048,577 elements"):
        decode(bytes(32) + ((1 << 20) + 1).to_bytes(4, "little") + bytes(5), [TensorSpec("t", (1 << 21,), "uint8")])
