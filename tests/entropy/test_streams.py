import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightzip.entropy import streams
from weightzip.entropy.machine import CHUNK, SCALAR, chunks, points, trellis
from weightzip.entropy.magnitudes import ALPHABET, MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols, decode_stream, encode_stream
from weightzip.errors import FormatError
from weightzip.quantise.trellis import run_machine

MACHINES = {"scalar": SCALAR, "trellis": trellis(256)}
LARGEST = 2**29
SYMBOLS = st.lists(
    st.one_of(st.integers(-2, 2), st.integers(-40, 40), st.integers(-LARGEST, LARGEST), st.sampled_from([-LARGEST, LARGEST])),
    max_size=60,
)
WIDE = MagnitudeTables(0, 2, 0, (((0,) * ALPHABET, (0,) * ALPHABET),) * 16)  # every magnitude in every class


def coded(symbols, classes, machine):
    """The bytes of symbols, the tables fitted to them, and the points that they stand for."""
    quantisers = run_machine(symbols, chunks([symbols.size]), machine)
    tables = MagnitudeTables.fit(count_symbols(symbols, classes, quantisers, MAX_CLASSES))
    return encode_stream(symbols, classes, quantisers, tables), tables, points(symbols, quantisers)


def gaussian(count, seed=0):
    """Symbols of classes 20 to 33 and of about these classes' deviations."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(20, 34, count).astype(np.uint8)
    symbols = np.rint(rng.normal(0, 0.5 * 2.0 ** ((classes.astype(float) - 24) / 4))).astype(np.int32)
    return symbols, classes


def checked_decode(data, classes, tables, machine):
    """decode_stream with numpy's bounds checks: the kernel's own code, interpreted."""
    num_words = int.from_bytes(data[:4], "little")
    end = 4 + 2 * num_words
    assert end <= len(data)
    frequencies, starts = tables.frequencies, tables.starts
    words = np.frombuffer(data[4:end], "<u2").astype(np.uint64).astype(np.uint16)
    lookup = tables.lookup.astype(np.int64)  # as wide as compiled arithmetic is
    values = np.zeros(classes.size, np.int64)
    raw = np.frombuffer(data[end:], np.uint8)
    index = tables.index(classes)
    whole = streams._decode.py_func(
        words, raw, index, frequencies, starts, lookup, machine.next_state, machine.quantiser.astype(np.int64), values
    )
    return values.astype(np.int32) if whole else None


@pytest.mark.parametrize("machine", MACHINES)
@given(SYMBOLS, st.data())
def test_round_trip(machine, values, data):
    classes = data.draw(st.lists(st.integers(0, MAX_CLASSES - 1), min_size=len(values), max_size=len(values)))
    symbols, classes = np.array(values, np.int32), np.array(classes, np.uint8)
    stream, tables, expected = coded(symbols, classes, MACHINES[machine])
    decoded = decode_stream(stream, classes, tables, MACHINES[machine])
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, expected)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 70_000])
def test_lengths_around_a_chunk(machine, count):
    """The machine starts anew in the middle of a stream, for encoder and decoder alike."""
    symbols, classes = gaussian(count)
    stream, tables, expected = coded(symbols, classes, MACHINES[machine])
    assert np.array_equal(decode_stream(stream, classes, tables, MACHINES[machine]), expected)


@pytest.mark.parametrize("value", [0, 1, -1, 15, -16, 17, 23, 24, 31, -32, 2**20 - 1, -LARGEST, 2**30 - 1])
@pytest.mark.parametrize("machine", MACHINES)
def test_a_magnitude_at_the_edge_of_its_bucket(machine, value):
    symbols, classes = np.array([value, 0, value], np.int32), np.zeros(3, np.uint8)
    stream, tables, expected = coded(symbols, classes, MACHINES[machine])
    assert np.array_equal(decode_stream(stream, classes, tables, MACHINES[machine]), expected)
    if machine == "scalar":
        assert expected.tolist() == [2 * value, 0, 2 * value]


def test_counts_are_of_magnitudes_by_class_and_quantiser():
    symbols = np.array([0, -1, 1, 15, 16, 23, -24, 31, 32, 1 - 2**30], np.int32)
    classes = np.array([0, 0, 0, 0, 0, 0, 5, 5, 5, 5], np.uint8)
    quantisers = np.array([0, 0, 1, 0, 0, 0, 1, 1, 0, 0], np.uint8)
    counts = count_symbols(symbols, classes, quantisers, 6)
    found = {tuple(int(i) for i in place): int(counts[tuple(place)]) for place in np.argwhere(counts)}
    # Two buckets to an octave from 16 on: 16-23, 24-31, 32-47 ...
    assert found == {
        (0, 0, 0): 1, (0, 0, 1): 1, (0, 1, 1): 1, (0, 0, 15): 1, (0, 0, 16): 2, (5, 1, 17): 2, (5, 0, 18): 1, (5, 0, 67): 1,
    }  # fmt: skip
    assert counts.shape == (6, 2, ALPHABET)


@pytest.mark.parametrize("machine", MACHINES)
def test_bytes_are_the_tables_code_length_and_the_raw_bits(machine):
    symbols, classes = gaussian(50_000)
    symbols[::1000] = 1000  # nine bits and a sign each: the second half of 512 to 1023 has eight extra bits
    quantisers = run_machine(symbols, chunks([symbols.size]), MACHINES[machine])
    counts = count_symbols(symbols, classes, quantisers, MAX_CLASSES)
    stream, tables, _ = coded(symbols, classes, MACHINES[machine])
    extra = 8 * 50 + sum(3 * int(16 <= abs(k) < 32) + 4 * int(32 <= abs(k) < 64) for k in symbols.tolist())
    bits = tables.cost(counts) + int(np.count_nonzero(symbols)) + extra
    assert bits / 8 - 1 < len(stream) < 1.0005 * bits / 8 + 12


def test_symbols_that_are_certain_cost_nothing():
    stream, _, _ = coded(np.zeros(100_000, np.int32), np.full(100_000, 9, np.uint8), MACHINES["trellis"])
    assert len(stream) <= 8


def test_golden_stream():
    """Files that exist must stay readable: these bytes mean these points, on every machine."""
    classes = np.array([0, 1, 4, 60] * 6, np.uint8)
    decoded = decode_stream(bytes.fromhex(GOLDEN), classes, WIDE, MACHINES["trellis"])
    assert decoded.tolist() == GOLDEN_POINTS


GOLDEN = "0a00000079441a8041806500a89158c04dc08182354540bd0abeb888f2ffff7f"
GOLDEN_POINTS = [0, 2, -5, 0, 11, -17, 0, 0, 63, -94, 140001, 0, 2, 0, 0, -1, 4, -3, 0, 9, 0, 0, 1073741822, 0]


def test_inputs_are_left_alone():
    symbols, classes = gaussian(100)
    before = symbols.copy(), classes.copy()
    stream, tables, _ = coded(symbols, classes, SCALAR)
    decode_stream(stream, classes, tables, SCALAR)
    assert np.array_equal(symbols, before[0])
    assert np.array_equal(classes, before[1])


@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_stream_that_is_cut_or_longer_is_refused(count):
    symbols, classes = gaussian(count)
    symbols[:1] = 123_456
    stream, tables, _ = coded(symbols, classes, MACHINES["trellis"])
    for end in range(len(stream)):
        with pytest.raises(FormatError, match=r"cut short|end where it should"):
            decode_stream(stream[:end], classes, tables, MACHINES["trellis"])
    for more in (b"\0", b"\xff", bytes(100)):
        with pytest.raises(FormatError, match="end where it should"):
            decode_stream(stream + more, classes, tables, MACHINES["trellis"])


@pytest.mark.parametrize("change", [-50, -1, 1, 50])
def test_too_few_or_too_many_symbols_are_noticed(change):
    symbols, classes = gaussian(300)
    stream, tables, _ = coded(symbols, classes, MACHINES["trellis"])
    with pytest.raises(FormatError, match="end where it should"):
        decode_stream(stream, np.full(300 + change, 28, np.uint8), tables, MACHINES["trellis"])


def test_more_words_than_there_are_bytes_are_refused():
    for count in (5, 2**31, 2**32 - 1):
        with pytest.raises(FormatError, match="cut short"):
            decode_stream(count.to_bytes(4, "little") + bytes(8), np.zeros(4, np.uint8), WIDE, SCALAR)


@pytest.mark.parametrize("words", [0, 1])
def test_symbols_without_a_coder_state_are_refused(words):
    data = words.to_bytes(4, "little") + bytes(2 * words)
    with pytest.raises(FormatError, match="end where it should"):
        decode_stream(data, np.zeros(1, np.uint8), WIDE, SCALAR)


def test_a_coder_that_does_not_end_where_it_began_is_refused():
    """All words and bytes may be used up, and the state still tells that these are not the symbols."""
    certain = MagnitudeTables(0, 2, 0, (((0,), (0,)),))
    classes = np.zeros(9, np.uint8)
    assert (decode_stream(bytes.fromhex("0200000001000000"), classes, certain, SCALAR) == 0).all()
    for state in ("01000100", "00000000", "ffffffff"):
        with pytest.raises(FormatError, match="end where it should"):
            decode_stream(bytes.fromhex("02000000" + state), classes, certain, SCALAR)


def test_bytes_where_there_are_no_symbols_are_refused():
    """A stream of nothing is the coder's first state and no more."""
    with pytest.raises(FormatError, match="end where it should"):
        decode_stream(bytes(4) + b"something else", np.zeros(0, np.uint8), WIDE, SCALAR)


def test_a_class_without_a_table_is_refused():
    symbols, classes = gaussian(300)
    stream, tables, _ = coded(symbols, classes, SCALAR)
    with pytest.raises(FormatError, match="no frequency table"):
        decode_stream(stream, np.full(300, 63, np.uint8), tables, SCALAR)


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from(list(MACHINES)))
def test_flipped_bits_are_refused_or_decode_to_something(seed, flips, machine):
    rng = np.random.default_rng(seed)
    symbols, classes = gaussian(200, seed)
    symbols[::20] = rng.integers(-LARGEST, LARGEST, 10)
    stream, tables, _ = coded(symbols, classes, MACHINES[machine])
    damaged = np.frombuffer(stream, np.uint8).copy()
    for place in rng.integers(0, 8 * len(stream), flips):
        damaged[place // 8] ^= 1 << place % 8
    with contextlib.suppress(FormatError):
        assert decode_stream(damaged.tobytes(), classes, tables, MACHINES[machine]).shape == (200,)


@given(st.integers(0, 12), st.binary(max_size=120), st.integers(0, 40), st.sampled_from(list(MACHINES)))
@settings(max_examples=150)
def test_nothing_is_read_out_of_bounds(num_words, body, count, machine):
    """Every magnitude may come up; words and raw bits run out at any point. numpy would raise IndexError."""
    num_words = min(num_words, len(body) // 2)
    data = num_words.to_bytes(4, "little") + body
    classes = (np.arange(count) % MAX_CLASSES).astype(np.uint8)
    interpreted = checked_decode(data, classes, WIDE, MACHINES[machine])
    if interpreted is None:
        with pytest.raises(FormatError):
            decode_stream(data, classes, WIDE, MACHINES[machine])
    else:
        assert np.array_equal(decode_stream(data, classes, WIDE, MACHINES[machine]), interpreted)


def test_interpreted_and_compiled_agree():
    symbols, classes = gaussian(CHUNK + 50)
    symbols[::200] = np.arange(len(symbols[::200])) * 1_000_003
    stream, tables, expected = coded(symbols, classes, MACHINES["trellis"])
    assert np.array_equal(checked_decode(stream, classes, tables, MACHINES["trellis"]), expected)
    assert np.array_equal(decode_stream(stream, classes, tables, MACHINES["trellis"]), expected)
