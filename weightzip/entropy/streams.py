"""Symbols of a state machine as bytes: magnitudes by ANS under tables of their class and quantiser, signs and extra bits raw.

    stream = 4 bytes number of 16-bit words W, W words of ANS (decoded front to back), then raw bits, lowest first

Asymmetric numeral systems (Duda 2013), one state of 32 bits renormalised by 16: compiled here, since the table in force depends
on the symbol before. Decoding one symbol takes about 10 ns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.machine import CHUNK, Machine
from weightzip.entropy.magnitudes import ALPHABET, DIRECT, PROBABILITY_BITS, MagnitudeTables
from weightzip.errors import FormatError
from weightzip.kernels import kernel

_LOW = 1 << 16  # the ANS state lies in [2^16, 2^32)
_MASK = (1 << PROBABILITY_BITS) - 1
_ENCODE_SHIFT = 32 - PROBABILITY_BITS
_DIRECT_LOG2 = 4


def count_symbols(
    symbols: NDArray[np.int32], classes: NDArray[np.uint8], quantisers: NDArray[np.uint8], num_classes: int
) -> NDArray[np.int64]:
    """How often each magnitude symbol occurs: [num_classes, 2, ALPHABET]."""
    counts = np.zeros((num_classes, 2, ALPHABET), np.int64)
    _count(symbols, classes, quantisers, counts)
    return counts


def encode_stream(
    symbols: NDArray[np.int32], classes: NDArray[np.uint8], quantisers: NDArray[np.uint8], tables: MagnitudeTables
) -> bytes:
    """Code symbols [n] of these classes and quantisers; n and the tables are not included."""
    index = tables.index(classes)
    words = np.zeros(symbols.size + 2, np.uint16)
    used = _encode_words(symbols, index, quantisers, tables.frequencies, tables.starts, words)
    bits = np.zeros((_num_bits(symbols) + 7) // 8 + 8, np.uint8)
    num_bytes = _encode_bits(symbols, bits)
    # The coder is a stack: what it wrote last is read first.
    return int(used).to_bytes(4, "little") + words[:used][::-1].astype("<u2").tobytes() + bits[:num_bytes].tobytes()


def decode_stream(data: bytes, classes: NDArray[np.uint8], tables: MagnitudeTables, machine: Machine) -> NDArray[np.int32]:
    """The points [n] that the symbols of a stream stand for, in fine steps. Raises FormatError where the data do not fit."""
    values, whole = _decoded(data, classes, tables, machine)
    if not whole:
        raise FormatError("a stream of symbols does not end where it should")
    return values


def decode_start(data: bytes, classes: NDArray[np.uint8], tables: MagnitudeTables, machine: Machine) -> NDArray[np.int32]:
    """The first points [n] of a stream, which may go on after them; zeros where it ends before."""
    return _decoded(data, classes, tables, machine)[0]


def _decoded(
    data: bytes, classes: NDArray[np.uint8], tables: MagnitudeTables, machine: Machine
) -> tuple[NDArray[np.int32], bool]:
    """So many points, and whether the stream ends with them."""
    num_words = int.from_bytes(data[:4], "little")
    end = 4 + 2 * num_words
    if len(data) < 4 or end > len(data):
        raise FormatError("a stream of symbols is cut short")
    index = tables.index(classes)
    values = np.zeros(classes.size, np.int32)
    whole = _decode(
        np.frombuffer(data[4:end], "<u2").astype(np.uint16),
        np.frombuffer(data[end:], np.uint8),
        index,
        tables.frequencies,
        tables.starts,
        tables.lookup,
        machine.next_state,
        machine.quantiser,
        values,
    )
    return values, whole


@kernel
def _bucket(magnitude):  # type: ignore[no-untyped-def]
    """(symbol, number of extra bits) of a magnitude; two symbols for each octave from DIRECT on."""
    if magnitude < DIRECT:
        return magnitude, 0
    exponent = 0
    rest = magnitude
    while rest > 1:
        rest >>= 1
        exponent += 1
    return DIRECT + 2 * (exponent - _DIRECT_LOG2) + ((magnitude >> (exponent - 1)) & 1), exponent - 1


@kernel
def _count(symbols, classes, quantisers, counts):  # type: ignore[no-untyped-def]
    for i in range(symbols.size):
        symbol, _ = _bucket(abs(symbols[i]))
        counts[classes[i], quantisers[i], symbol] += 1


@kernel
def _num_bits(symbols):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(symbols.size):
        if symbols[i] != 0:
            total += 1 + _bucket(abs(symbols[i]))[1]
    return total


@kernel
def _encode_words(symbols, index, quantisers, frequencies, starts, words):  # type: ignore[no-untyped-def]
    state = np.uint64(_LOW)
    used = 0
    for i in range(symbols.size - 1, -1, -1):
        symbol, _ = _bucket(abs(symbols[i]))
        frequency = np.uint64(frequencies[index[i], quantisers[i], symbol])
        if state >= frequency << np.uint64(_ENCODE_SHIFT):
            words[used] = state & np.uint64(0xFFFF)
            used += 1
            state >>= np.uint64(16)
        start = np.uint64(starts[index[i], quantisers[i], symbol])
        state = (state // frequency << np.uint64(PROBABILITY_BITS)) + state % frequency + start
    words[used] = state & np.uint64(0xFFFF)
    words[used + 1] = state >> np.uint64(16)
    return used + 2


@kernel
def _encode_bits(symbols, data):  # type: ignore[no-untyped-def]
    pending = np.uint64(0)
    num_pending = 0
    position = 0
    for i in range(symbols.size):
        value = symbols[i]
        if value == 0:
            continue
        magnitude = abs(value)
        _, num_extra = _bucket(magnitude)
        extra = np.uint64(magnitude & ((1 << num_extra) - 1))
        pending |= (np.uint64(value < 0) | extra << np.uint64(1)) << np.uint64(num_pending)
        num_pending += 1 + num_extra
        while num_pending >= 8:
            data[position] = pending & np.uint64(0xFF)
            pending >>= np.uint64(8)
            num_pending -= 8
            position += 1
    if num_pending:
        data[position] = pending
        position += 1
    return position


@kernel
def _filled(data, next_byte, pending, num_pending, wanted):  # type: ignore[no-untyped-def]
    """Raw bits ahead: at least `wanted` of them, if the data have as many."""
    while num_pending < wanted and next_byte < data.size:
        pending |= np.uint64(data[next_byte]) << np.uint64(num_pending)
        next_byte += 1
        num_pending += 8
    return pending, num_pending, next_byte


@kernel
def _decode(words, data, index, frequencies, starts, lookup, next_state, quantiser_of, values):  # type: ignore[no-untyped-def]
    """Fill values [n] with points; False where words or raw bits are too few or too many."""
    if words.size < 2:
        return False
    ans = np.uint64(words[0]) << np.uint64(16) | np.uint64(words[1])
    next_word = 2
    pending = np.uint64(0)
    num_pending, next_byte = np.int64(0), np.int64(0)  # of the types that `_filled` gives, or it would be compiled twice
    machine_state = 0
    for i in range(values.size):
        if i % CHUNK == 0:
            machine_state = 0
        table = index[i]
        quantiser = quantiser_of[machine_state]
        slot = ans & np.uint64(_MASK)
        symbol = lookup[table, quantiser, slot]
        frequency = np.uint64(frequencies[table, quantiser, symbol])
        ans = frequency * (ans >> np.uint64(PROBABILITY_BITS)) + slot - np.uint64(starts[table, quantiser, symbol])
        if ans < np.uint64(_LOW):
            if next_word >= words.size:
                return False
            ans = ans << np.uint64(16) | np.uint64(words[next_word])
            next_word += 1
        magnitude = np.int64(symbol)
        if symbol != 0:
            num_extra = (symbol - DIRECT) // 2 + _DIRECT_LOG2 - 1 if symbol >= DIRECT else 0
            pending, num_pending, next_byte = _filled(data, next_byte, pending, num_pending, 1 + num_extra)
            if num_pending < 1 + num_extra:
                return False
            if num_extra:
                extra = (pending >> np.uint64(1)) & ((np.uint64(1) << np.uint64(num_extra)) - np.uint64(1))
                magnitude = np.int64(((2 + ((symbol - DIRECT) & 1)) << num_extra) | np.int64(extra))
            point = 2 * magnitude - quantiser
            values[i] = -point if pending & np.uint64(1) else point
            pending >>= np.uint64(1 + num_extra)
            num_pending -= 1 + num_extra
        else:
            values[i] = 0
        machine_state = next_state[machine_state, magnitude & 1]
    return ans == np.uint64(_LOW) and next_word == words.size and next_byte == data.size
