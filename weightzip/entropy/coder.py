"""Coding long arrays of signed integers with one table per scale class."""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np
from numpy.typing import NDArray

from weightzip.entropy.buckets import Buckets
from weightzip.entropy.integers import decode_integers, encode_integers, trim_words, words_of
from weightzip.entropy.tables import Tables
from weightzip.errors import FormatError

_DIRECT_LOG2 = (4, 8)  # alphabets tried: short tables for bell-shaped data, long ones for arbitrary indices
_MAX_TABLE_INTEGERS = 1 << 18
_RAW_BITS = 16  # extra bits written at once; constriction's models are at most 24 bits wide
_SLICE = 1 << 18  # symbols looked at together while decoding, which bounds memory


def encode(values: NDArray[np.int32], classes: NDArray[np.uint8] | None = None) -> bytes:
    """Code integers [n], each with the table of its class [n] (None: one class); tables are included, n is not.

    The result is as long as the empirical entropy within the classes, plus the tables, plus at most 8 bytes.

    >>> import numpy as np
    >>> values = np.array([0, 0, 1, 0, -2, 0, 300], np.int32)
    >>> decode(encode(values), 7).tolist()
    [0, 0, 1, 0, -2, 0, 300]
    """
    if not values.size:
        return b""
    return min((_encode(values, classes, Buckets(log2)) for log2 in _DIRECT_LOG2), key=len)


def decode(data: bytes, count: int, classes: NDArray[np.uint8] | None = None) -> NDArray[np.int32]:
    """The `count` integers that `encode` coded with these classes. Raises FormatError where that cannot be.

    Takes 5 bytes per integer, the result's 4 included, and 4 more where some have extra bits.
    """
    if not count:
        return np.zeros(0, np.int32)
    buckets, tables, stream = _read_tables(data)
    try:
        coder = constriction.stream.stack.AnsCoder(words_of(stream))
    except ValueError as error:
        raise FormatError(f"coded integers are malformed: {error}") from error
    values = np.empty(count, np.int32)  # symbols at first
    for scale_class in _groups(classes):
        model = tables.model(scale_class)
        for part, members in _parts(classes, scale_class, count):
            values[part][members] = coder.decode(model, len(members))
    _join_extra(coder, buckets, values)
    return values


def _encode(values: NDArray[np.int32], classes: NDArray[np.uint8] | None, buckets: Buckets) -> bytes:
    symbols, extra, num_extra = buckets.split(values)
    tables = Tables.fit(symbols, classes, buckets.alphabet)
    coder = constriction.stream.stack.AnsCoder()
    # A stack: what is decoded last is coded first.
    for width, members in reversed(list(_members(num_extra, values.size))):
        _encode_raw(coder, width, extra[members])
    for scale_class, members in reversed(list(_members(classes, values.size))):
        coder.encode_reverse(symbols[members], tables.model(scale_class))
    header = [buckets.direct_log2, *tables.to_integers()]
    coded = encode_integers(header)
    prefix = len(header).to_bytes(3, "little") + len(coded).to_bytes(3, "little")
    return prefix + coded + trim_words(coder.get_compressed())


def _read_tables(data: bytes) -> tuple[Buckets, Tables, bytes]:
    if len(data) < 6:
        raise FormatError("coded integers are cut short")
    num_integers = int.from_bytes(data[:3], "little")
    end = 6 + int.from_bytes(data[3:6], "little")
    if num_integers > _MAX_TABLE_INTEGERS or end > len(data):
        raise FormatError("a frequency table is longer than allowed or than the data")
    direct_log2, *codes = decode_integers(data[6:end], max(num_integers, 1))
    if direct_log2 not in _DIRECT_LOG2:
        raise FormatError("coded integers use an unknown alphabet")
    buckets = Buckets(direct_log2)
    tables = Tables.from_integers(codes)
    if any(len(table) > buckets.alphabet for table in tables.codes):
        raise FormatError("a frequency table is longer than its alphabet")
    return buckets, tables, data[end:]


def _members(groups: NDArray[np.uint8] | None, count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each group's number and the positions of its members, ascending."""
    if groups is None:
        yield 0, np.arange(count)
        return
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    ends = np.cumsum(sizes)
    for group in np.flatnonzero(sizes):
        yield int(group), order[ends[group] - sizes[group] : ends[group]]


def _groups(groups: NDArray[np.uint8] | None) -> list[int]:
    """The numbers of all groups that have members, ascending; None is one group, 0."""
    if groups is None:
        return [0]
    sizes = sum(np.bincount(groups[start : start + _SLICE], minlength=256) for start in range(0, groups.size, _SLICE))
    return [int(group) for group in np.flatnonzero(sizes)]


def _parts(groups: NDArray[np.uint8] | None, group: int, count: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """One slice of all positions after the other, and which of its positions are members of the group."""
    for start in range(0, count, _SLICE):
        part = slice(start, min(start + _SLICE, count))
        members = np.arange(part.stop - start) if groups is None else np.flatnonzero(groups[part] == group)
        if members.size:
            yield part, members


def _join_extra(coder: constriction.stream.stack.AnsCoder, buckets: Buckets, values: NDArray[np.int32]) -> None:
    """Turn symbols [n] into the values that they and the extra bits to come stand for, in place."""
    slices = [slice(start, start + _SLICE) for start in range(0, values.size, _SLICE)]
    num_extra = np.empty(values.size, np.uint8)
    for part in slices:
        num_extra[part] = buckets.num_extra(values[part])
    widths = [width for width in _groups(num_extra) if width]
    extra = np.zeros(values.size if widths else 1, np.uint32)
    for width in widths:
        for low in reversed(range(0, width, _RAW_BITS)):
            model = constriction.stream.model.Uniform(1 << min(width - low, _RAW_BITS))
            for part, members in _parts(num_extra, width, values.size):
                extra[part][members] |= coder.decode(model, len(members)).astype(np.uint32) << np.uint32(low)
    for part in slices:
        values[part] = buckets.join(values[part], extra[part] if widths else extra)


def _encode_raw(coder: constriction.stream.stack.AnsCoder, width: int, bits: NDArray[np.uint32]) -> None:
    """Write the `width` low bits of each number, part by part."""
    for low in range(0, width, _RAW_BITS):
        size = min(width - low, _RAW_BITS)
        part = (bits >> low) & ((1 << size) - 1)
        coder.encode_reverse(part.astype(np.int32), constriction.stream.model.Uniform(1 << size))
