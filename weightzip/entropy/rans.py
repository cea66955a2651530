"""Symbols of one fixed distribution as bytes, fast: four interleaved rANS states under one table that travels with the data.

    data  = table, 4 states of 8 bytes, words of 4 bytes; all integers little-endian
    table = until the frequencies sum to 2^12: (absent symbols, present symbols P, P times frequency - 1), each a LEB128 integer

A state x lies in [2^29, 2^61). Each state decodes two symbols, one after the other, and is then refilled once: two symbols take
24 bits at most, and a word brings 32. So symbols 8i and 8i+1 are of state 0, 8i+2 and 8i+3 of state 1, and so on; what is
missing to the last eight is filled with symbols that are dropped. One symbol:

    slot = x mod 2^12; symbol = the one whose range holds slot; x = frequency * floor(x / 2^12) + slot - start of its range

and after two of them, if x < 2^29: x = x * 2^32 + next word. At the end every state is 2^29 and no word is left.
(Duda 2013; interleaving: Giesen 2014.) Decoding a symbol takes about 1.2 ns, encoding one 1.5 ns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.quotients import high_product, reciprocals
from weightzip.errors import FormatError
from weightzip.kernels import kernel

PROBABILITY_BITS = 12
NUM_STATES = 4
_TOTAL = 1 << PROBABILITY_BITS
_LOW = 1 << 29
_LOT = 2 * NUM_STATES  # symbols from one refilling to the next
_PAIR_SHIFT = 61 - 2 * PROBABILITY_BITS
_MOST_TABLE_BYTES = 6 * _TOTAL  # at most 3 integers for each symbol that is present, of two bytes each
_RECIPROCALS, _SHIFTS = reciprocals(_TOTAL)
# Unsigned, as are states: with signed indices, compiled code would look for negative ones each time.
_1, _2, _3, _4, _5, _6, _7 = (np.uint64(k) for k in range(1, _LOT))

Symbols = NDArray[np.uint8] | NDArray[np.uint16]


def count(symbols: Symbols, alphabet: int) -> NDArray[np.int64]:
    """How often each symbol below `alphabet` occurs: [alphabet]. Symbols must be below it."""
    counts = np.zeros((4, alphabet), np.uint32)
    _count(symbols, counts)
    total: NDArray[np.int64] = counts.sum(axis=0, dtype=np.int64)
    return total


def expected_bytes(counts: NDArray[np.int64]) -> float:
    """About how many bytes symbols that occur so often take, table and all."""
    present = counts[counts > 0].astype(np.float64)
    num_symbols = present.sum()
    return float(present @ np.log2(num_symbols / present)) / 8 + 1.3 * present.size + 8 * NUM_STATES


def encode_symbols(symbols: Symbols, counts: NDArray[np.int64]) -> bytes:
    """Code symbols [n], n > 0, that occur so often: counts [alphabet], at most 4096; n is not included."""
    frequencies = normalise(counts)
    table = np.empty(_MOST_TABLE_BYTES, np.uint8)
    table_bytes = _write_table(frequencies, table)
    missing = -symbols.size % _LOT
    whole = np.concatenate([symbols, np.repeat(symbols[-1:], missing)]) if missing else symbols
    words = np.empty(whole.size // 2 + 1, np.uint32)  # a spare one in front, written to in vain
    states = np.empty(NUM_STATES, np.uint64)
    first = _encode(whole, _divisions(frequencies), words, states)
    return table[:table_bytes].tobytes() + states.astype("<u8").tobytes() + words[first:].astype("<u4", copy=False).tobytes()


def decode_symbols(data: NDArray[np.uint8], symbols: Symbols, alphabet: int) -> None:
    """Fill symbols [n] from the bytes of `encode_symbols`. Raises FormatError where the data do not fit them."""
    frequencies = np.zeros(alphabet, np.int64)
    table_bytes = _read_table(data, frequencies)
    if table_bytes < 0:
        raise FormatError("a frequency table is damaged")
    words_at = table_bytes + 8 * NUM_STATES
    num_words, odd_bytes = divmod(data.size - words_at, 4)
    if num_words < 0 or odd_bytes:
        raise FormatError("a stream of symbols is cut short")
    words = np.zeros(num_words + NUM_STATES, np.uint32)  # each state may read one too many before that is noticed
    words[:num_words] = np.frombuffer(data[words_at:].tobytes(), "<u4")
    states = np.frombuffer(data[table_bytes:words_at].tobytes(), "<u8").astype(np.uint64)
    whole = symbols if symbols.size % _LOT == 0 else np.empty(symbols.size + -symbols.size % _LOT, symbols.dtype)
    names = np.empty(_TOTAL, symbols.dtype)
    steps = np.empty(_TOTAL, np.uint32)
    _spread(frequencies, names, steps)
    if not _decode(states, words, names, steps, whole):
        raise FormatError("a stream of symbols does not end where it should")
    if whole is not symbols:
        symbols[:] = whole[: symbols.size]


def normalise(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frequencies that sum to 2^12, none zero where the count is not: nearly the best, counts being what they are."""
    present = np.flatnonzero(counts)
    scaled = np.maximum(np.rint(counts[present] * (_TOTAL / counts.sum())), 1).astype(np.int64)
    _settle(counts[present], scaled)
    frequencies = np.zeros(counts.size, np.int64)
    frequencies[present] = scaled
    return frequencies


def _divisions(frequencies: NDArray[np.int64]) -> NDArray[np.uint64]:
    """For each symbol reciprocal, shift, start of its range, and 2^12 - frequency: [alphabet, 4]."""
    starts = np.cumsum(frequencies) - frequencies
    starts += (_TOTAL - 1) * (frequencies == 1)  # as a quotient by 1 is one too small
    columns = [_RECIPROCALS[frequencies], _SHIFTS[frequencies], starts.view(np.uint64), (_TOTAL - frequencies).view(np.uint64)]
    return np.stack(columns, axis=1)


@kernel
def _count(symbols, counts):  # type: ignore[no-untyped-def]
    # Four tables, as to count a symbol twice in a row has to wait for the first.
    even = symbols.size // 4 * 4
    for i in range(0, even, 4):
        counts[0, symbols[i]] += np.uint32(1)
        counts[1, symbols[i + 1]] += np.uint32(1)
        counts[2, symbols[i + 2]] += np.uint32(1)
        counts[3, symbols[i + 3]] += np.uint32(1)
    for i in range(even, symbols.size):
        counts[0, symbols[i]] += np.uint32(1)


@kernel
def _settle(counts, frequencies):  # type: ignore[no-untyped-def]
    """Raise or lower frequencies, one at a time, where it gains most or costs least, until they sum to 2^12."""
    excess = frequencies.sum() - _TOTAL
    while excess != 0:
        best = -1
        best_cost = np.inf
        for k in range(frequencies.size):
            if excess > 0 and frequencies[k] > 1:
                cost = counts[k] / (frequencies[k] - 0.5)
            elif excess < 0:
                cost = -counts[k] / (frequencies[k] + 0.5)
            else:
                continue
            if cost < best_cost:
                best, best_cost = k, cost
        step = 1 if excess > 0 else -1
        frequencies[best] -= step
        excess -= step


@kernel
def _write_integer(value, data, at):  # type: ignore[no-untyped-def]
    while value >= 128:
        data[at] = value & 127 | 128
        value >>= 7
        at += 1
    data[at] = value
    return at + 1


@kernel
def _read_integer(data, at):  # type: ignore[no-untyped-def]
    """(value below 2^14, where the next one is), or a position of -1."""
    if at < 0 or at >= data.size:
        return 0, -1
    value = np.int64(data[at])
    if value < 128:
        return value, at + 1
    if at + 1 >= data.size or data[at + 1] >= 128:
        return 0, -1
    return value & 127 | np.int64(data[at + 1]) << 7, at + 2


@kernel
def _write_table(frequencies, data):  # type: ignore[no-untyped-def]
    symbol = at = 0
    rest = _TOTAL
    while rest > 0:
        start = symbol
        while frequencies[symbol] == 0:
            symbol += 1
        end = symbol
        while end < frequencies.size and frequencies[end] > 0:
            end += 1
        at = _write_integer(symbol - start, data, at)
        at = _write_integer(end - symbol, data, at)
        while symbol < end:
            at = _write_integer(frequencies[symbol] - 1, data, at)
            rest -= frequencies[symbol]
            symbol += 1
    return at


@kernel
def _read_table(data, frequencies):  # type: ignore[no-untyped-def]
    """Fill frequencies [alphabet], zero so far; the table's length in bytes, or -1 where it is not one."""
    symbol = at = 0
    rest = _TOTAL
    while rest > 0:
        gap, at = _read_integer(data, at)
        if at < 0:
            return -1
        present, at = _read_integer(data, at)
        symbol += gap
        if at < 0 or present < 1 or symbol + present > frequencies.size:
            return -1
        for _ in range(present):
            less_one, at = _read_integer(data, at)
            rest -= less_one + 1
            if at < 0 or rest < 0:
                return -1
            frequencies[symbol] = less_one + 1
            symbol += 1
    return at


@kernel
def _spread(frequencies, names, steps):  # type: ignore[no-untyped-def]
    """For each slot its symbol, and frequency | slot - start << 16. Frequencies must sum to 2^12."""
    slot = 0
    for symbol in range(frequencies.size):
        for offset in range(frequencies[symbol]):
            names[slot] = symbol
            steps[slot] = np.uint32(frequencies[symbol] | offset << 16)
            slot += 1


@kernel
def _pushed(state, symbol, divisions):  # type: ignore[no-untyped-def]
    """The state with one more symbol: floor(x / frequency) * 2^12 + x mod frequency + start."""
    quotient = high_product(state, divisions[symbol, 0]) >> divisions[symbol, 1]
    return state + divisions[symbol, 2] + quotient * divisions[symbol, 3]


@kernel
def _pushed_two(state, first, second, divisions, words, at):  # type: ignore[no-untyped-def]
    """(state, position) after a word has been written to words[at - 1], if need be, and the symbols `second` and `first`."""
    total = np.uint64(_TOTAL)
    full = state >= (total - divisions[first, 3]) * (total - divisions[second, 3]) << np.uint64(_PAIR_SHIFT)
    words[at - _1] = np.uint32(state & np.uint64(0xFFFFFFFF))
    rest = state >> np.uint64(32)
    state = _pushed(rest if full else state, second, divisions)
    return _pushed(state, first, divisions), at - np.uint64(full)


@kernel
def _encode(symbols, divisions, words, states):  # type: ignore[no-untyped-def]
    """Fill words from behind and states; where the words begin. Symbols: whole lots; words: half as many and one."""
    at = np.uint64(words.size)
    a = b = c = d = np.uint64(_LOW)
    for lot in range(symbols.size // _LOT - 1, -1, -1):
        i = np.uint64(lot * _LOT)
        d, at = _pushed_two(d, symbols[i + _6], symbols[i + _7], divisions, words, at)
        c, at = _pushed_two(c, symbols[i + _4], symbols[i + _5], divisions, words, at)
        b, at = _pushed_two(b, symbols[i + _2], symbols[i + _3], divisions, words, at)
        a, at = _pushed_two(a, symbols[i], symbols[i + _1], divisions, words, at)
    states[0], states[1], states[2], states[3] = a, b, c, d
    return at


@kernel
def _popped(state, step):  # type: ignore[no-untyped-def]
    return (step & np.uint64(0xFFFF)) * (state >> np.uint64(PROBABILITY_BITS)) + (step >> np.uint64(16))


@kernel
def _popped_two(state, names, steps, words, at, symbols, i):  # type: ignore[no-untyped-def]
    """(state, position) after symbols[i] and symbols[i + 1] have been decoded, and words[at] read, if need be."""
    slot = state & np.uint64(_TOTAL - 1)
    symbols[i] = names[slot]
    state = _popped(state, np.uint64(steps[slot]))
    slot = state & np.uint64(_TOTAL - 1)
    symbols[i + _1] = names[slot]
    state = _popped(state, np.uint64(steps[slot]))
    low = state < np.uint64(_LOW)
    refilled = state << np.uint64(32) | np.uint64(words[at])  # in any case, as a branch here would be a matter of luck
    return refilled if low else state, at + np.uint64(low)


@kernel
def _decode(states, words, names, steps, symbols):  # type: ignore[no-untyped-def]
    """Fill symbols, whole lots; False where they do not end with the words, whose last NUM_STATES are not of the stream."""
    end = np.uint64(words.size - NUM_STATES)
    at = np.uint64(0)
    a, b, c, d = states[0], states[1], states[2], states[3]
    for lot in range(symbols.size // _LOT):
        i = np.uint64(lot * _LOT)
        if at > end:
            return False
        a, at = _popped_two(a, names, steps, words, at, symbols, i)
        b, at = _popped_two(b, names, steps, words, at, symbols, i + _2)
        c, at = _popped_two(c, names, steps, words, at, symbols, i + _4)
        d, at = _popped_two(d, names, steps, words, at, symbols, i + _6)
    low = np.uint64(_LOW)
    return at == end and a == low and b == low and c == low and d == low
