import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightzip.codec.layers import decode_layers, encode_layers, join, split
from weightzip.codec.paper_quantise import MACHINE
from weightzip.codec.symbols import quantise_latents, round_latents
from weightzip.entropy.machine import SCALAR
from weightzip.errors import FormatError

SHAPES = [(3, 1, 4), (1, 1, 7)]


def arrays(shapes, seed=0):
    """Of some fine steps each."""
    generator = np.random.default_rng(seed)
    return [5 * generator.standard_normal(shape).astype(np.float32) for shape in shapes]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_parts_come_back(parts):
    data = join(parts)
    assert len(data) == sum(map(len, parts)) + 4 * len(parts)
    assert split(data, len(parts)) == parts


def test_lengths_stand_before_all_parts():
    assert join([b"abc", b""]) == b"\3\0\0\0\0\0\0\0abc"


@pytest.mark.parametrize("data", [b"", b"\3\0\0\0", b"\3\0\0\0ab", b"\3\0\0\0abcd", b"\xff\xff\xff\xffabc", b"\3\0\0"])
def test_parts_cut_short_or_too_long(data):
    with pytest.raises(FormatError, match="cut short, or too long"):
        split(data, 1)


def test_one_part_less_or_more_than_there_are():
    data = join([b"abc", b"de"])
    for count in (1, 3):
        with pytest.raises(FormatError, match="cut short, or too long"):
            split(data, count)


def test_layers_come_back_each_under_its_model():
    layers = [round_latents(arrays(SHAPES)), round_latents(arrays(SHAPES[:1], seed=1))]
    first, second = decode_layers(encode_layers(layers), [SHAPES, SHAPES[:1]], SCALAR)
    for found, (wanted, shapes) in zip((first, second), ((layers[0], SHAPES), (layers[1], SHAPES[:1])), strict=True):
        assert [array.shape for array in found] == shapes
        assert np.array_equal(np.concatenate([array.reshape(-1) for array in found]), 2 * wanted.symbols)


def test_the_trellis_has_its_own_points():
    latents = arrays([(20, 1, 8)])
    coded = quantise_latents(latents, num_states=MACHINE.num_states)
    ((points,),) = decode_layers(encode_layers([coded]), [[(20, 1, 8)]], MACHINE)
    assert np.square(points - latents[0]).mean() < 1
    with pytest.raises(FormatError):
        decode_layers(encode_layers([coded]), [[(20, 1, 8)]], SCALAR)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:5], lambda _: b""])
def test_layers_cut_short_or_too_long(change):
    data = encode_layers([round_latents(arrays(SHAPES))])
    with pytest.raises(FormatError):
        decode_layers(change(data), [SHAPES], SCALAR)


def test_layers_of_other_shapes():
    data = encode_layers([round_latents(arrays(SHAPES))])
    with pytest.raises(FormatError):
        decode_layers(data, [[(30, 1, 40)]], SCALAR)


def test_no_layers():
    assert encode_layers([]) == b""
    assert decode_layers(b"", [], SCALAR) == []
    with pytest.raises(FormatError, match="too long"):
        decode_layers(b"\0", [], SCALAR)
