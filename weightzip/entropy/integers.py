"""Short lists of small integers (tables, scales, counts), coded adaptively: no table of their own is stored.

A sequence of n values costs about its entropy plus log2(n) bits for each distinct value that it turns out to use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import constriction
import numpy as np
from numpy.typing import NDArray

from weightzip.errors import FormatError

_DIRECT = 24  # values below this are symbols of their own; larger ones escape into 32 bits
_INCREMENT = 24.0  # weight of one observation against the initial count of 1: learns fast, as lists are short


def encode_integers(values: Iterable[int]) -> bytes:
    """Code signed integers below 2^31 in magnitude; the number of them is not stored.

    >>> data = encode_integers([3, 3, -1, 3, 0])
    >>> decode_integers(data, 5)
    [3, 3, -1, 3, 0]
    """
    encoder = constriction.stream.queue.RangeEncoder()
    counts = np.ones(_DIRECT + 1)
    uniform = constriction.stream.model.Uniform(1 << 16)
    for value in values:
        folded = _fold(value)
        symbol = min(folded, _DIRECT)
        encoder.encode(symbol, _model(counts))
        if symbol == _DIRECT:
            encoder.encode(folded >> 16, uniform)
            encoder.encode(folded & 0xFFFF, uniform)
        counts[symbol] += _INCREMENT
    words: NDArray[np.uint32] = encoder.get_compressed()
    return trim_words(words)


def decode_integers(data: bytes, count: int) -> list[int]:
    """The first `count` integers that `encode_integers` coded into `data`. Raises FormatError where that cannot be."""
    return list(islice(read_integers(data), count))


def read_integers(data: bytes) -> Iterator[int]:
    """The integers of `data` one by one; how many there are is for the caller to know.

    Raises FormatError where the data cannot have been written by `encode_integers`.
    """
    decoder = constriction.stream.queue.RangeDecoder(words_of(data))
    counts = np.ones(_DIRECT + 1)
    uniform = constriction.stream.model.Uniform(1 << 16)
    while True:
        try:
            folded = symbol = int(decoder.decode(_model(counts)))
            if symbol == _DIRECT:
                folded = int(decoder.decode(uniform)) << 16 | int(decoder.decode(uniform))
        except AssertionError as error:  # how constriction says "invalid data"
            raise FormatError("coded integers are damaged") from error
        counts[symbol] += _INCREMENT
        yield _unfold(folded)


def deltas(values: Sequence[int]) -> list[int]:
    """Differences of neighbours, the first against zero: smooth lists become small numbers."""
    return [value - before for before, value in zip([0, *values], values, strict=False)]


def trim_words(words: NDArray[np.uint32]) -> bytes:
    """32-bit words as little-endian bytes without the zero bytes at their end, which `words_of` puts back."""
    return words.astype("<u4").tobytes().rstrip(b"\0")


def words_of(data: bytes) -> NDArray[np.uint32]:
    """Inverse of `trim_words`; one that lost a whole zero word decodes alike, since decoders read zeros past the end."""
    padded = data + bytes(-len(data) % 4)
    return np.frombuffer(padded, "<u4").astype(np.uint32)


def _model(counts: NDArray[np.float64]) -> object:
    return constriction.stream.model.Categorical(counts, lazy=True)


def _fold(value: int) -> int:
    """0, -1, 1, -2, 2 ... to 0, 1, 2, 3, 4 ..."""
    folded = 2 * value if value >= 0 else -2 * value - 1
    if folded >> 32:
        raise FormatError(f"{value} is too large to be coded: magnitudes must stay below 2^31")
    return folded


def _unfold(folded: int) -> int:
    return folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
