import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.blocks.views import possible_views
from weightzip.codec import transforms as module
from weightzip.codec.transforms import (
    COSINE,
    IDENTITY,
    LEARNED,
    Choice,
    Transforms,
    decode_transforms,
    encode_transforms,
)
from weightzip.errors import FormatError, LimitError
from weightzip.threads import limited_threads
from weightzip.vae.linear import LinearDecoder, cosine_decoder
from weightzip.vae.reflections import Reflections

SHAPES = ((12, 8, 3, 3), (20, 28), (20, 28), (5,), (0, 3))


def learned(length, rank, seed=0):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(length, length)))[0][:, :rank]
    exponents = rng.integers(4, 9, rank).astype(np.int32)
    return LinearDecoder.of(Reflections.of(directions, exponents))


def runs_of(length):
    return next(number for number, view in enumerate(possible_views((20, 28))) if view.sizes[2] == length)


@pytest.fixture
def transforms():
    choices = (
        Choice(0, (LEARNED + 1, COSINE, LEARNED)),
        Choice(runs_of(7), (IDENTITY, COSINE, LEARNED + 2)),
        Choice(runs_of(7), (IDENTITY, IDENTITY, LEARNED + 2)),
        Choice(),
        Choice(),
    )
    return Transforms(SHAPES, choices, (learned(9, 9), learned(12, 12), learned(7, 4)))


def symbols_for(transforms, index, size=40):
    return np.random.default_rng(index).integers(-size, size + 1, transforms.latent_shape(index)).astype(np.int32)


def same(left, right):
    return (
        left.shapes == right.shapes
        and left.choices == right.choices
        and all(np.array_equal(a.basis, b.basis) for a, b in zip(left.decoders, right.decoders, strict=True))
    )


def test_storing_and_reading(transforms):
    decoded = decode_transforms(encode_transforms(transforms), SHAPES)
    assert same(decoded, transforms)
    assert [decoder.reflections for decoder in decoded.decoders] == [None] * 3  # which would double the memory


def test_shapes_of_latents_need_no_cosines(transforms, monkeypatch):
    expected = [transforms.latents(index, np.zeros(shape, np.float32)).shape for index, shape in enumerate(SHAPES)]
    monkeypatch.setattr(module, "cosine_decoder", None)
    again = Transforms(SHAPES, transforms.choices, transforms.decoders)
    assert [again.latent_shape(index) for index in range(len(SHAPES))] == expected


def test_a_cosine_transform_is_built_once(transforms):
    first = transforms.decoder(0, 1)
    assert first is transforms.decoder(0, 1)
    assert first.basis.shape == (8, 8)


def test_no_transform_takes_no_byte():
    nothing = Transforms(SHAPES, (Choice(),) * len(SHAPES), ())
    assert encode_transforms(nothing) == b""
    assert same(decode_transforms(b"", SHAPES), nothing)


def test_latents_restore_the_tensor(transforms):
    rng = np.random.default_rng(0)
    for index in (0, 1, 3, 4):
        tensor = (500 * rng.normal(size=SHAPES[index])).astype(np.float32)
        if index == 1:  # rank 4 of 7: only what the decoder can say comes back
            tensor = transforms.restore(index, symbols_for(transforms, index), 1.0)
        latents = transforms.latents(index, tensor)
        assert latents.shape == transforms.latent_shape(index)
        restored = transforms.restore(index, np.rint(latents).astype(np.int32), 1.0)
        assert restored.shape == tensor.shape
        assert restored.dtype == np.float32
        assert np.abs(restored - tensor).max(initial=0) < 3


def test_restoring_is_exact(transforms, monkeypatch):
    """Against Python's integers; in any batches."""
    symbols = symbols_for(transforms, 0)
    bases = [transforms.decoder(0, axis) for axis in range(3)]
    exact = symbols.astype(object)
    for axis, decoder in enumerate(bases):
        integers = decoder.basis.astype(object)
        exact = np.moveaxis(np.tensordot(integers, exact, axes=(1, axis)), 0, axis)
    step = 0.00123
    unit = step * 2.0 ** -sum(decoder.shift for decoder in bases)
    expected = (exact.astype(np.float64) * unit).astype(np.float32).reshape(SHAPES[0])
    for batch in (1, 100, 1 << 20):
        monkeypatch.setattr(module, "_BATCH", batch)
        monkeypatch.setattr("weightzip.vae.linear._BATCH", batch)
        for threads in (1, 2):
            with limited_threads(threads):
                assert np.array_equal(transforms.restore(0, symbols, step), expected)


def test_a_cosine_transform_is_there_whatever_other_threads_put_in_its_place(transforms):
    """As where a property of Python 3.12, which has no lock any more, is computed twice, and what came first is replaced."""

    class Replaced(dict):
        def __setitem__(self, length, decoder):
            vars(transforms)["_cosines"] = {}

    vars(transforms)["_cosines"] = Replaced()
    assert transforms.decoder(0, 1).length == cosine_decoder(8).length == 8


@pytest.mark.parametrize("way", [COSINE, LEARNED])
def test_single_precision_restores_the_same_bits(way, monkeypatch):
    """As double precision, and as Python's integers: a large basis is applied in float32, its result scaled in float64."""
    shape = (600, 512)
    decoder = learned(512, 512) if way == LEARNED else cosine_decoder(512)
    transforms = Transforms((shape,), (Choice(0, (IDENTITY, IDENTITY, way)),), (decoder,) if way == LEARNED else ())
    symbols = symbols_for(transforms, 0, size=100)
    step = 0.0012345678901234567
    single = transforms.restore(0, symbols, step)
    assert decoder.decode(symbols[0]).dtype == np.float32
    monkeypatch.setattr("weightzip.vae.linear._MUCH", 1 << 40)
    assert decoder.decode(symbols[0]).dtype == np.float64
    assert single.tobytes() == transforms.restore(0, symbols, step).tobytes()
    exact = symbols[0].astype(object) @ decoder.basis.T.astype(object)
    assert np.array_equal(single[0], (exact[0].astype(np.float64) * (step * 2.0**-decoder.shift)).astype(np.float32))


def test_without_a_transform_a_weight_is_its_symbol_times_the_step(transforms):
    symbols = np.array([[[-2, 0, 1, 7, 2**30]]], np.int32)
    assert np.array_equal(transforms.restore(3, symbols, 0.1), (symbols.reshape(5) * 0.1).astype(np.float32))
    assert np.isinf(transforms.restore(3, symbols, 1e38)[-1])


def test_symbols_too_large_to_be_exact_are_refused(transforms):
    symbols = np.full(transforms.latent_shape(0), 2**30, np.int32)
    with pytest.raises(FormatError, match="exact arithmetic"):
        transforms.restore(0, symbols, 1.0)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_read(data):
    try:
        decoded = decode_transforms(data, SHAPES)
    except (FormatError, LimitError):
        return
    for index, shape in enumerate(SHAPES):
        assert decoded.restore(index, np.zeros(decoded.latent_shape(index), np.int32), 1.0).shape == shape


@given(st.data())
def test_damaged_bytes_are_refused_or_read(data):
    transforms = Transforms(SHAPES[:1], (Choice(0, (IDENTITY, COSINE, LEARNED)),), (learned(9, 9),))
    coded = bytearray(encode_transforms(transforms))
    coded[data.draw(st.integers(0, len(coded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    test_arbitrary_bytes_are_refused_or_read.hypothesis.inner_test(bytes(coded))


def test_cut_short_or_followed_by_more(transforms):
    coded = encode_transforms(transforms)
    with pytest.raises(FormatError, match="cut short"):
        decode_transforms(coded[:-1], SHAPES)
    with pytest.raises(FormatError, match="bytes follow"):
        decode_transforms(coded + b"\0", SHAPES)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((Choice(0, (IDENTITY, IDENTITY, LEARNED + 1)),), "not those that the tensors use"),
        ((Choice(0, (IDENTITY, COSINE, IDENTITY)),), "not those that the tensors use"),
        ((Choice(0, (LEARNED, IDENTITY, LEARNED)),), "does not fit its tensor"),
        ((Choice(0, (-1, IDENTITY, LEARNED)),), "does not fit its tensor"),
        ((Choice(1, (IDENTITY, IDENTITY, COSINE)),), "not those that the tensors use"),
    ],
)
def test_choices_that_do_not_fit(choices, message):
    coded = encode_transforms(Transforms(SHAPES[:1], choices, (learned(9, 9),)))
    with pytest.raises(FormatError, match=message):
        decode_transforms(coded, SHAPES[:1])


def test_a_view_that_is_not_offered():
    transforms = Transforms(SHAPES[1:2], (Choice(3),), ())
    coded = encode_transforms(transforms)
    assert same(decode_transforms(coded, SHAPES[1:2]), transforms)
    with pytest.raises(FormatError, match="does not offer"):
        decode_transforms(coded, ((19, 29),))


def one_decoder(reflections):
    """Coded transforms of a filter with any reflections along its taps, possible or not."""
    choice = Choice(0, (IDENTITY, IDENTITY, LEARNED))
    decoder = LinearDecoder(np.zeros((9, reflections.rank), np.int32), reflections=reflections)
    return encode_transforms(Transforms(SHAPES[:1], (choice,), (decoder,)))


@pytest.mark.parametrize("exponent", [-1, 15])
def test_precision_out_of_range(exponent):
    reflections = Reflections(9, np.full(9, exponent, np.int32), np.zeros(36, np.int32))
    with pytest.raises(FormatError, match="precision is out of range"):
        decode_transforms(one_decoder(reflections), SHAPES[:1])


def test_a_reflection_out_of_range():
    reflections = Reflections(9, np.full(9, 3, np.int32), np.full(36, 9, np.int32))
    with pytest.raises(FormatError, match="reflection is out of range"):
        decode_transforms(one_decoder(reflections), SHAPES[:1])


def test_bases_larger_than_the_tensors_allow():
    shape = (1000, 2)
    transforms = Transforms((shape,), (Choice(0, (LEARNED, IDENTITY, IDENTITY)),), (learned(1000, 1),))
    with pytest.raises(LimitError, match="too large for its tensor"):
        decode_transforms(encode_transforms(transforms), (shape,))
    transforms = Transforms(((9, 3),), (Choice(0, (LEARNED, IDENTITY, IDENTITY)),), (learned(9, 1),))
    assert same(decode_transforms(encode_transforms(transforms), ((9, 3),)), transforms)  # three numbers to a weight
    with pytest.raises(LimitError, match="too large for its tensor"):
        decode_transforms(encode_transforms(transforms), ((9, 2),))


def test_cosines_of_too_many_lengths(monkeypatch):
    shapes = ((30,), (40,), (30,), (20, 40))
    along = Choice(0, (IDENTITY, IDENTITY, COSINE))
    coded = encode_transforms(Transforms(shapes, (along,) * 4, ()))
    monkeypatch.setattr(module, "MAX_COSINES", 30**2 + 40**2)
    assert decode_transforms(coded, shapes).choices == (along,) * 4
    monkeypatch.setattr(module, "MAX_COSINES", 30**2 + 40**2 - 1)
    with pytest.raises(LimitError, match="cosine transforms are too large"):
        decode_transforms(coded, shapes)


def test_ranks_out_of_range():
    reflections = Reflections(9, np.zeros(0, np.int32), np.zeros(0, np.int32))
    with pytest.raises(FormatError, match="more latents than"):
        decode_transforms(one_decoder(reflections), SHAPES[:1])
