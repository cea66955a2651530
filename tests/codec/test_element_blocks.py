import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.codec.element_blocks import decode_block, encode_block
from weightzip.codec.element_planes import cut, join, layout_of
from weightzip.errors import FormatError

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex32", "complex64", "complex128"]
OTHERS = ["bool", "uint8", "int16", "int32", "int64", "float8_e5m2"]
STORED, ZSTD, PLANES, SPARSE = range(4)


def elements_of(kind, layout, size, seed=0):
    """Elements whose blocks are coded in different modes."""
    rng = np.random.default_rng(seed)
    bits = 8 * layout.width
    arbitrary = rng.integers(0, 2**bits, size, dtype=np.uint64)
    if kind == "few values":
        arbitrary = rng.choice(arbitrary[:3], size)
    elif kind == "like weights":  # of exponents that are close to each other
        arbitrary = arbitrary >> np.uint64(2) & ~np.uint64(3 << (bits - 6 if bits > 8 else 3)) | arbitrary << np.uint64(
            bits - 1
        )
    elif kind == "sparse":
        arbitrary[rng.random(size) < 0.7] = 0
        arbitrary[rng.random(size) < 0.1] = 1 << (bits - 1)  # -0.0
    elif kind == "in order":
        arbitrary = np.arange(size, dtype=np.uint64)
    return arbitrary.astype(layout.unsigned)


@given(
    st.sampled_from(FLOATS + OTHERS),
    st.sampled_from(["arbitrary", "few values", "like weights", "sparse", "in order"]),
    st.integers(1, 5000),
    st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_every_kind_of_block_comes_back(dtype, kind, size, seed):
    layout = layout_of(dtype)
    elements = elements_of(kind, layout, size, seed)
    before = elements.copy()
    mode, body = encode_block(elements, layout)
    assert len(body) <= elements.nbytes
    decoded = np.empty_like(elements)
    decode_block(mode, np.frombuffer(body, np.uint8), layout, decoded)
    assert np.array_equal(decoded, before)
    assert np.array_equal(elements, before)


@pytest.mark.parametrize("dtype", FLOATS + OTHERS)
def test_planes_hold_the_bits_from_the_highest_on(dtype):
    layout = layout_of(dtype)
    elements = elements_of("arbitrary", layout, 100)
    width = 8 * layout.width
    assert sum(layout.bits) == width
    planes = cut(elements, layout)
    for k, element in enumerate(elements.tolist()):
        rotated = (element << 1) % 2**width | element >> (width - 1) if layout.is_float else element
        joined = 0
        for plane, bits in zip(planes, layout.bits, strict=True):
            joined = joined << bits | int(plane[k])
        assert joined == rotated
    back = np.empty_like(elements)
    join(planes, layout, back)
    assert np.array_equal(back, elements)


def test_modes_are_chosen_as_they_are_meant():
    layout = layout_of("float32")
    modes = {
        kind: encode_block(elements_of(kind, layout, 100_000), layout)[0] for kind in ("arbitrary", "like weights", "sparse")
    }
    assert modes == {"arbitrary": STORED, "like weights": PLANES, "sparse": SPARSE}
    recurring = np.tile(elements_of("arbitrary", layout, 500), 200)
    assert encode_block(recurring, layout)[0] == ZSTD


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "int16"])
@pytest.mark.parametrize("kind", ["like weights", "sparse", "in order", "few values"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_hostile_bodies_do_no_harm(dtype, kind, data):
    """Here no digest helps: a body is refused, or fills the elements with something."""
    layout = layout_of(dtype)
    mode, body = encode_block(elements_of(kind, layout, 800), layout)
    hostile = bytearray(body)
    for _ in range(data.draw(st.integers(0, 4))):
        hostile[data.draw(st.integers(0, min(len(hostile) - 1, 200)))] = data.draw(st.integers(0, 255))
    del hostile[data.draw(st.integers(0, 2 * len(hostile))) :]
    mode = data.draw(st.sampled_from([mode, mode, mode, STORED, ZSTD, PLANES, SPARSE, 4, 255]))
    elements = np.empty(data.draw(st.sampled_from([1, 799, 800, 801, 100_000])), layout.unsigned)
    try:
        decode_block(mode, np.frombuffer(bytes(hostile), np.uint8), layout, elements)
    except FormatError:
        return


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    with pytest.raises(FormatError, match="104,857,600 bytes instead of 16"):
        decode_block(ZSTD, np.frombuffer(bomb, np.uint8), layout_of("float32"), np.empty(4, np.uint32))


def test_an_unknown_mode():
    with pytest.raises(FormatError, match="mode 4"):
        decode_block(4, np.zeros(16, np.uint8), layout_of("float32"), np.empty(4, np.uint32))


@pytest.mark.parametrize("size", [15, 17])
def test_a_stored_block_of_another_size(size):
    with pytest.raises(FormatError, match="instead of 16"):
        decode_block(STORED, np.zeros(size, np.uint8), layout_of("float32"), np.empty(4, np.uint32))
