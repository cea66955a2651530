import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightzip.codec import symbols as room
from weightzip.codec.symbols import (
    STREAM,
    CodedSymbols,
    PointStreams,
    Symbols,
    decode_points,
    encode_symbols,
    quantise_latents,
    round_latents,
)
from weightzip.entropy import encode_integers
from weightzip.entropy.machine import SCALAR, points, trellis
from weightzip.entropy.streams import decode_stream
from weightzip.errors import FormatError
from weightzip.quantise.axes import AxisScales

LATENTS = st.lists(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=6),
        elements=st.one_of(st.floats(-3, 3, width=32), st.floats(-(2.0**18), 2.0**18, width=32)),
    ),
    min_size=1,
    max_size=4,
)


def gaussian(*shapes, deviation=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return [(deviation * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


def shapes_of(latents):
    return [array.shape for array in latents]


def assert_comes_back(coded, latents):
    """The points decoded are those of the symbols, array by array."""
    expected = points(coded.symbols, coded.quantisers)
    start = 0
    decoded = list(decode_points(encode_symbols(coded), shapes_of(latents), coded.machine))
    assert len(decoded) == len(latents)
    for found, array in zip(decoded, latents, strict=True):
        assert found.dtype == np.int32
        assert np.array_equal(found, expected[start : start + array.size].reshape(array.shape))
        start += array.size
    return decoded


@given(LATENTS, st.sampled_from([8, 64, 256]))
@settings(max_examples=20)
def test_round_trip(latents, num_states):
    assert_comes_back(quantise_latents(latents, num_states=num_states), latents)


@given(LATENTS)
@settings(max_examples=20)
def test_rounded_latents_are_off_by_at_most_half_a_unit(latents):
    decoded = assert_comes_back(round_latents(latents), latents)
    for found, array in zip(decoded, latents, strict=True):
        assert (np.abs(found / 2 - array) <= 0.5).all()
        assert (found % 2 == 0).all()


@pytest.mark.parametrize(
    "shapes",
    [
        [(1, 1, 1)],
        [(0, 0, 0)],
        [(0, 0, 0), (1, 1, 1), (0, 0, 0)],
        [(300, 1, 300), (1, 1, 7), (0, 0, 0), (260, 2, 128), (1, 1, 5)],
        [(1, 1, STREAM), (1, 1, STREAM - 1), (1, 1, 1), (1, 1, 3)],
        [(1, 1, 100)] * 50,
    ],
    ids=str,
)
def test_arrays_of_all_sizes(shapes):
    latents = gaussian(*shapes)
    assert_comes_back(quantise_latents(latents, num_states=8), latents)


@given(st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 2 * STREAM), st.just(STREAM)), max_size=12))
def test_streams_hold_neighbours_and_at_least_so_many_symbols(sizes):
    groups = room._streams(sizes)
    assert [size for group in groups for size in group] == sizes
    assert all(groups)
    if len(groups) > 1:
        assert all(sum(group) >= STREAM for group in groups)
        assert all(sum(group[:-1]) < STREAM for group in groups[:-1])  # no longer than need be


def test_each_stream_can_be_decoded_by_itself():
    latents = gaussian((256, 1, 256), (300, 1, 300), (256, 2, 200))
    coded = quantise_latents(latents, num_states=8)
    made = encode_symbols(coded)
    model = room._Model.read(made.model, shapes_of(latents), 3)
    scales, tables, lengths = model.scales, model.tables, model.stream_bytes
    assert sum(lengths) == len(made.streams)
    expected = points(coded.symbols, coded.quantisers)
    ends = np.cumsum([array.size for array in latents])
    for number in (2, 0, 1):
        start = sum(lengths[:number])
        data = made.streams[start : start + lengths[number]]
        found = decode_stream(data, scales[number].classes(), tables, coded.machine)
        assert np.array_equal(found, expected[ends[number] - latents[number].size : ends[number]])


@pytest.mark.parametrize("machine", [SCALAR, trellis(256)], ids=["scalar", "trellis"])
def test_ideal_bits_are_what_streams_take(machine):
    """Large values as well, which have extra bits; from the first ones alone, the bits are the same."""
    few, many = gaussian((7, 1, 9), (200, 1, 300))
    latents = [300 * few, many]
    coded = round_latents(latents) if machine is SCALAR else quantise_latents(latents, num_states=256)
    made = encode_symbols(coded)
    streams = PointStreams(made, shapes_of(latents), machine)
    (group,) = streams.groups
    bits = streams.ideal_bits(group, 2)
    assert bits.size == 7 * 9 + 200 * 300
    assert float(bits.sum(dtype=np.float64)) / 8 == pytest.approx(len(made.streams), abs=25)  # of 23,000
    assert np.array_equal(streams.ideal_bits(group, 1), bits[: 7 * 9])
    assert float(bits[: 7 * 9].mean()) > 4 + float(bits[7 * 9 :].mean())
    assert streams.ideal_bits(group, 0).size == 0


def test_codes_of_scales_are_counted():
    ramp = 2.0 ** np.linspace(-3, 3, 64, dtype=np.float32)[:, None, None]
    latents = [ramp * gaussian((64, 1, 200))[0], gaussian((30, 1, 40))[0]]
    made = encode_symbols(quantise_latents(latents, num_states=8))
    streams = PointStreams(made, shapes_of(latents), trellis(8))
    assert streams.num_codes == [64, 0]
    assert 10 < streams.code_bytes < 64 < len(made.model)


def test_damage_to_one_stream_leaves_those_before_it():
    latents = gaussian((256, 1, 256), (256, 1, 256))
    coded = encode_symbols(quantise_latents(latents, num_states=8))
    damaged = CodedSymbols(coded.model, coded.streams[:-1] + bytes([coded.streams[-1] ^ 255]))
    decoded = decode_points(damaged, shapes_of(latents), trellis(8))
    assert np.abs(next(decoded) - latents[0]).max() < 4


def test_the_same_bytes_twice_and_latents_untouched():
    latents = gaussian((70, 3, 9), (1, 1, 33))
    before = [array.copy() for array in latents]
    first, second = (encode_symbols(quantise_latents(latents, num_states=256)) for _ in range(2))
    assert first == second
    assert encode_symbols(round_latents(latents)) == encode_symbols(round_latents(latents))
    assert all(np.array_equal(a, b) for a, b in zip(before, latents, strict=True))


def test_a_gaussian_takes_little_more_than_the_rate_distortion_bound():
    """All bytes counted, of 100,000 latents with a separable deviation."""
    rows, columns = 2.0 ** np.linspace(0, 2, 400), 2.0 ** np.linspace(1, -0.5, 250)
    latents = [(gaussian((400, 1, 250))[0] / 2 * rows[:, None, None] * columns).astype(np.float32)]
    coded = quantise_latents(latents, num_states=256)
    made = encode_symbols(coded)
    error = np.square(points(coded.symbols, coded.quantisers).reshape(latents[0].shape) - latents[0]).mean()
    bound = 0.5 * np.log2(np.square(np.outer(rows, columns)) / error)  # all deviations are far above the error's
    bits = 8 * (len(made.model) + len(made.streams)) / latents[0].size
    assert (bound > 0.3).all()
    assert bound.mean() < bits < bound.mean() + 0.08


def test_dearer_bits_make_fewer_bytes_and_larger_errors():
    latents = gaussian((100, 1, 100), (50, 1, 50))
    flat = np.concatenate([array.reshape(-1) for array in latents])
    sizes, errors = [], []
    for tradeoff in (0.0, 0.2, 0.45, 1.5):
        coded = quantise_latents(latents, num_states=8, tradeoff=tradeoff)
        sizes.append(len(encode_symbols(coded).streams))
        errors.append(np.square(points(coded.symbols, coded.quantisers) - flat).mean())
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert sizes[0] > 1.2 * sizes[-1]


@pytest.mark.parametrize(("shape", "varies"), [((1000, 1, 1000), False), ((8, 1, 125_000), True)], ids=["plain", "scales"])
def test_decoding_takes_the_memory_that_is_told(shape, varies):
    """Also where a file has as many scales as one may."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-900, 40, shape[2]).astype(np.int32) if varies else np.zeros(shape[2], np.int32)
    scales = AxisScales((np.zeros(shape[0], np.int32), np.zeros(1, np.int32), codes))
    zeros = np.zeros(1_000_000, np.int32)
    made = encode_symbols(Symbols(zeros, zeros.astype(np.uint8), (scales,), SCALAR))
    tracemalloc.start()
    try:
        next(decode_points(made, [shape], SCALAR))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    per_latent = 6  # bytes: its point and its class, and the class's table
    assert 4_000_000 < peak < 1_000_000 * per_latent + (4 << 20)


def test_a_far_outlier_comes_back():
    """One value up to five hundred million times the others."""
    for size in (4, 300):
        for power in (20, 29.9):
            latents = gaussian((1, 1, size), (size, 1, 3))
            latents[0][0, 0, size // 2] = 2.0**power
            found = assert_comes_back(quantise_latents(latents, num_states=256), latents)[0][0, 0, size // 2]
            assert abs(int(found) - 2.0**power) <= 2.0 ** (power - 22) + 4


def test_the_largest_symbols_that_rounding_gives_come_back():
    """Twice the symbol must fit 32 bits too: what is cut off stays on its side of zero."""
    for value in (2.0**29, 2.0**30 - 1, 2.0**30, 1e300):
        latents = [np.array([[[value, -value, 1.0]]])]
        found = next(decode_points(encode_symbols(round_latents(latents)), [(1, 1, 3)], SCALAR)).reshape(-1)
        assert found.astype(np.int64)[2] == 2
        assert np.sign(found).tolist() == [1, -1, 1]
        assert abs(int(found[0]) - min(2 * value, 2.0**31)) <= 2


def test_many_scales_come_back():
    """Longer lists of codes are stored in another way."""
    size = room._MAX_ADAPTIVE + 5
    rows = (2.0 ** np.random.default_rng(0).integers(-1, 4, size)).astype(np.float32)
    latents = [(gaussian((size, 1, 16))[0] * rows[:, None, None]).astype(np.float32)]
    coded = quantise_latents(latents, num_states=8)
    assert len(np.unique(coded.scales[0].codes[0])) > 1
    assert_comes_back(coded, latents)


def test_scales_of_any_kind_come_back():
    """The classes decide which table is in force, so a code that changes on the way would show."""
    rng = np.random.default_rng(0)
    for codes in (
        ([0, 4, 8], [0] * 4, [-8, 0, 8, 16, 24]),
        ([-400, 0, 400], [4] * 4, [0] * 5),
        ([4092, -4092, 0], [0] * 4, [0] * 5),
    ):
        scales = AxisScales(tuple(np.array(each, np.int32) for each in codes))
        symbols = rng.integers(-3, 4, 60).astype(np.int32)
        coded = Symbols(symbols, np.zeros(60, np.uint8), (scales,), SCALAR)
        decoded = next(decode_points(encode_symbols(coded), [(3, 4, 5)], SCALAR))
        assert np.array_equal(decoded.reshape(-1), 2 * symbols)


@pytest.fixture(scope="module")
def whole():
    latents = gaussian((40, 3, 9), (1, 1, 33), (20, 1, 20))
    return encode_symbols(quantise_latents(latents, num_states=256)), shapes_of(latents)


def decoded_or_refused(coded, shapes):
    with contextlib.suppress(FormatError):
        assert [array.shape for array in decode_points(coded, shapes, trellis(256))] == shapes


def test_a_model_that_is_cut_is_refused_or_read_as_another(whole):
    """Coded integers read zeros past their end; no length of them crashes, and none of those before the codes is read."""
    coded, shapes = whole
    start = 6 + int.from_bytes(coded.model[:3], "little") + int.from_bytes(coded.model[3:6], "little")
    for end in range(len(coded.model)):
        if end < start:
            with pytest.raises(FormatError, match="cut short"):
                list(decode_points(CodedSymbols(coded.model[:end], coded.streams), shapes, trellis(256)))
        else:
            decoded_or_refused(CodedSymbols(coded.model[:end], coded.streams), shapes)


@pytest.mark.parametrize("streams", [b"", b"\0", bytes(1000)])
def test_streams_of_another_length_are_refused(whole, streams):
    coded, shapes = whole
    with pytest.raises(FormatError, match="longer or shorter"):
        list(decode_points(CodedSymbols(coded.model, streams), shapes, trellis(256)))


@given(st.integers(0, 10**9), st.integers(1, 5))
def test_damaged_models_are_refused_or_decode_to_something(whole, seed, flips):
    coded, shapes = whole
    rng = np.random.default_rng(seed)
    model = bytearray(coded.model)
    for place in rng.integers(0, 8 * len(model), flips):
        model[place // 8] ^= 1 << place % 8
    decoded_or_refused(CodedSymbols(bytes(model), coded.streams), shapes)


@given(st.binary(max_size=40), st.binary(max_size=60), st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=3))
def test_arbitrary_bytes_are_refused_or_decode_to_something(model, streams, shapes):
    decoded_or_refused(CodedSymbols(model, streams), shapes)


def test_shapes_that_do_not_fit_do_not_crash(whole):
    coded, shapes = whole
    for other in ([(40, 3, 10), *shapes[1:]], [(1, 1, 1)] * 3, shapes[::-1], shapes[:2], [*shapes, (2, 2, 2)]):
        decoded_or_refused(coded, other)


def built(tables, modes, codes=b"", streams=b""):
    """A model of these integers."""
    parts = [encode_integers(tables), encode_integers(modes)]
    model = b"".join(len(part).to_bytes(3, "little") for part in parts) + b"".join(parts) + codes
    return CodedSymbols(model, streams)


@pytest.mark.parametrize(
    ("coded", "match"),
    [
        (CodedSymbols(b"", b""), "cut short"),
        (CodedSymbols(b"\xff" * 6, b""), "cut short"),
        (built([0, 3, 0, 0], [8] + [0] * 6), "frequency tables are out of range"),
        (built([0, 0, 0, 0], [-8] + [0] * 6), "negative length"),
        (built([0, 0, 0, 0], [0, 3] + [0] * 5), "unknown way"),
        (built([0, 0, 0, 0], [7] + [0] * 6, streams=bytes(8)), "longer or shorter"),
        (built([0, 0, 0, 0], [8] + [0] * 6, streams=bytes(8)), "no frequency table"),
        (built([24, 0, 1, 0, 0, 0], [3] + [0] * 6, streams=bytes(3)), "cut short"),
        (built([24, 0, 1, 0, 0, 0], [8] + [0] * 6, streams=bytes(8)), "end where it should"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_symbols_are_refused(coded, match):
    with pytest.raises(FormatError, match=match):
        list(decode_points(coded, [(2, 3, 4)], SCALAR))


def test_a_model_built_by_hand_is_read():
    """What the rejections above differ from: 24 symbols that are certain take the coder's first state and no more."""
    table = [room.MagnitudeTables(24, 0, 0, (((0,), (0,)),)).to_integers()]
    coded = built(*table, [8] + [0] * 6, streams=bytes.fromhex("0200000001000000"))
    assert (next(decode_points(coded, [(2, 3, 4)], SCALAR)) == np.zeros((2, 3, 4))).all()


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_arrays_without_elements_cost_next_to_nothing(count):
    shapes = [(0, 0, 0)] * count
    latents = [np.zeros(shape, np.float32) for shape in shapes]
    made = encode_symbols(quantise_latents(latents, num_states=8))
    assert len(made.model) + len(made.streams) < 40 + count / 4
    assert [array.shape for array in decode_points(made, shapes, trellis(8))] == shapes
