"""A reader of .wz files written from docs/FORMAT.md alone: what it says is enough, and weightzip does what it says.

Slow, and sure of its input: it checks what makes a file whole, but no limits.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import floor, isqrt, prod

import zstandard

WIDTHS = {"bool": 1, "float4_e2m1fn_x2": 1, "bfloat16": 2}


@dataclass(frozen=True)
class File:
    """sections: by name, without the header."""

    version: int
    header: dict
    sections: dict[str, bytes]


def container(data: bytes) -> File:
    """Take a file apart, and check all of its hashes."""
    magic, version, flags, size, digest = struct.unpack_from("<4sBBI32s", data)
    assert (magic, flags) == (b"\x89WZ\n", 0)
    table, start = data[42 : 42 + size], 42 + size
    assert hashlib.sha256(data[:10] + table).digest() == digest
    sections: dict[str, bytes] = {}
    at = 0
    while at < len(table):
        end = at + 1 + table[at]
        name, length = table[at + 1 : end].decode("ascii"), int.from_bytes(table[end : end + 6], "little")
        sections[name] = data[start : start + length]
        assert hashlib.sha256(sections[name]).digest() == table[end + 6 : end + 38]
        at, start = end + 38, start + length
    assert start == len(data)
    header = json.loads(zstandard.decompress(sections.pop("header")))
    return File(version, header, sections)


def tensors_of(header: dict) -> list[tuple[str, tuple[int, ...], str, bool]]:
    """(name, shape, dtype, exact) of all tensors."""
    return [
        (entry[0], tuple(entry[1]), entry[2] if len(entry) > 2 else "float32", len(entry) == 4) for entry in header["tensors"]
    ]


def parts_of(header: dict) -> Iterator[tuple[bool, int, list[tuple[str, tuple[int, ...], str]]]]:
    """(exact, number, tensors) of all parts."""
    for kind in (False, True):
        members = [entry[:3] for entry in tensors_of(header) if entry[3] == kind]
        counts = header["parts"][kind] if "parts" in header else [len(members)] if members else []
        for number, count in enumerate(counts):
            yield kind, number, members[:count]
            members = members[count:]
        assert not members


def sections_of(file: File, number: int, names: Sequence[str]) -> list[bytes]:
    """Those of one part, empty where they are missing."""
    return [file.sections.get(f"{name}.{number}" if number else name, b"") for name in names]


# Numbers as bytes


def words_of(data: bytes) -> list[int]:
    return [word for (word,) in struct.iter_unpack("<I", data + bytes(-len(data) % 4))]


def starts_of(weights: Sequence[float]) -> list[int]:
    """Where each symbol's share of 2^24 begins, and the end."""
    scale = (2**24 - len(weights)) / sum_in_order(weights)
    before = [0.0, *accumulate(weights[:-1])]
    return [*(floor(left * scale) + i for i, left in enumerate(before)), 2**24]


def sum_in_order(weights: Sequence[float]) -> float:
    return list(accumulate(weights))[-1]  # not sum(), which some versions of Python make more exact


def symbol_at(starts: Sequence[int], place: int) -> int:
    return next(i for i in range(len(starts) - 1) if starts[i] <= place < starts[i + 1])


def short_list(data: bytes) -> Iterator[int]:
    words = iter(words_of(data))
    lower, width = 0, 2**64 - 1
    point = next(words, 0) << 32 | next(words, 0)
    counts = [1.0] * 25
    equal = [256 * i for i in range(2**16 + 1)]

    def symbol(starts: Sequence[int]) -> int:
        nonlocal lower, width, point
        scale = width >> 24
        place = (point - lower) % 2**64 // scale
        assert place < 2**24
        i = place // 256 if starts is equal else symbol_at(starts, place)
        lower = (lower + scale * starts[i]) % 2**64
        width = scale * (starts[i + 1] - starts[i])
        if width < 2**32:
            lower, width, point = (lower << 32) % 2**64, width << 32, (point << 32) % 2**64 | next(words, 0)
        return i

    while True:
        f = symbol(starts_of(counts))
        counts[f] += 24
        if f == 24:
            f = symbol(equal) << 16
            f |= symbol(equal)
        yield f // 2 if f % 2 == 0 else -(f + 1) // 2


class Stack:
    """The ANS coder of long lists."""

    def __init__(self, words: list[int]) -> None:
        self.words, self.state = words, 0
        while self.state < 2**32 and words:
            self._refill()

    def _refill(self) -> None:
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, starts: Sequence[int]) -> int:
        place = self.state % 2**24
        i = symbol_at(starts, place)
        self.state = (self.state >> 24) * (starts[i + 1] - starts[i]) + place - starts[i]
        self._refill()
        return i

    def bits(self, count: int) -> int:
        each = 2**24 >> count
        place = self.state % 2**24
        self.state = (self.state >> 24) * each + place % each
        self._refill()
        return place // each


def long_list(data: bytes, classes: Sequence[int]) -> list[int]:
    if not classes:
        return []
    size = 6 + int.from_bytes(data[3:6], "little")
    table = islice(short_list(data[6:size]), int.from_bytes(data[:3], "little"))
    direct = next(table)
    models = []
    for _ in range(next(table)):
        length = next(table)
        codes = [0] * length
        for parity in (0, 1):
            codes[parity::2] = accumulate(islice(table, len(codes[parity::2])))
        weights = [float(isqrt(isqrt(2 ** (code + 32))) if code else 0) for code in codes] + [0.0]
        total = sum_in_order(weights)
        models.append(starts_of([weight / total for weight in weights]) if total else [])
    stack = Stack(words_of(data[size:]))
    symbols = {i: stack.symbol(models[kind]) for kind in sorted(set(classes)) for i, k in enumerate(classes) if k == kind}
    buckets = {i: (symbol + 1) // 2 - 2**direct for i, symbol in symbols.items()}
    widths = {i: j // 2 + direct - 1 if j >= 0 else 0 for i, j in buckets.items()}
    extra = dict.fromkeys(symbols, 0)
    for width in sorted(set(widths.values()) - {0}):
        for low in reversed(range(0, width, 16)):
            for i in range(len(classes)):
                if widths[i] == width:
                    extra[i] |= stack.bits(min(width - low, 16)) << low
    values = []
    for i in range(len(classes)):
        magnitude = (2 + buckets[i] % 2 << widths[i]) + extra[i] if buckets[i] >= 0 else buckets[i] + 2**direct
        values.append(magnitude if symbols[i] % 2 else -magnitude)
    return values


# Latents

Shape = tuple[int, int, int]


def groups_of(sizes: Sequence[int]) -> list[list[int]]:
    """Which arrays each stream holds."""
    groups: list[list[int]] = []
    filled = 65536
    for index, size in enumerate(sizes):
        if filled >= 65536:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += size
    if filled < 65536 and len(groups) > 1:
        last = groups.pop()
        groups[-1] += last
    return groups


def clip(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def classes_of(modes: Sequence[int], codes: Iterator[int], shape: Shape) -> list[int]:
    axes = []
    for axis, size in enumerate(shape):
        mode, level = modes[2 * axis : 2 * axis + 2]
        told = list(islice(codes, size)) if mode else [0] * size
        told = list(accumulate(told)) if mode == 2 else told
        others = prod(shape) // size if size else prod(shape[:axis] + shape[axis + 1 :])
        unit = 1 if others >= 96 else 2 if others >= 24 else 4
        axes.append([clip(unit * clip(code + clip(level, -1024, 1024), -1024, 1024), -1024, 1024) for code in told])
    return [clip(24 + a + b + c, 0, 63) for a in axes[0] for b in axes[1] for c in axes[2]]


def tables_of(numbers: Iterator[int]) -> tuple[int, int, dict[tuple[int, int], list[int]]]:
    """first, w, and the frequencies by table and quantiser."""
    first, w, count, start = islice(numbers, 4)
    logs: dict[tuple[int, int], list[int]] = {}
    for table in [*range(start, count), *range(start - 1, -1, -1)]:
        for q in (0, 1):
            if table == start:
                c = ((first + start) << w) + (1 << w) // 2
                p = isqrt(2 ** (152 - c))
                guess = [0] + [(8, 28)[q] - ((2 * m - q) ** 2 * 378170 * p >> 80) for m in range(1, 16)]
                guess = [log for log in guess if log > -80]
            elif table > start:
                guess = stretched(logs[table - 1, q], q, (55109, 46341, 32768)[w])
            else:
                guess = stretched(logs[table + 1, q], q, (77936, 92682, 131072)[w])
            how = next(numbers)
            if how:
                size = len(guess) + next(numbers)
                guess = continued(guess, size)
            logs[table, q] = [log + next(numbers) for log in guess] if how == 2 else guess
    return first, w, {key: frequencies(log) for key, log in logs.items()}


def stretched(table: list[int], q: int, ratio: int) -> list[int]:
    result: list[int] = []
    for m in range(16):
        i, r = divmod(((2 * m - q) * ratio + q * 65536) // 2 if m else 0, 65536)
        if i >= len(table):
            break
        result.append((table[i] * (65536 - r) + table[min(i + 1, len(table) - 1)] * r + 32768) // 65536)
    return result


def continued(guess: list[int], size: int) -> list[int]:
    table = guess[:size]
    slope = min(table[-1] - table[-2], -1) if len(table) > 1 else -1
    return table + [max(table[-1] + k * slope, -4096) for k in range(1, size - len(table) + 1)]


def frequencies(logs: list[int]) -> list[int]:
    powers = [isqrt(isqrt(isqrt(2 ** (max(log - max(logs) + 112, 0) + 128)))) for log in logs]
    shares = [max((power << 14) // sum(powers), 1) for power in powers]
    shares[shares.index(max(shares))] += 2**14 - sum(shares)
    return shares


def next_state(state: int, parity: int) -> int:
    q = state >> 7
    return sum(
        ((state >> (i - 1) & 1 if i else 0) ^ (q & 0o515 >> (8 - i)) & 1 ^ (parity & 0o362 >> (8 - i)) & 1) << i
        for i in range(8)
    )


def stream_points(
    data: bytes, classes: list[int], tables: tuple[int, int, dict[tuple[int, int], list[int]]], states: int
) -> list[int]:
    first, w, shares = tables
    starts = {key: [0, *accumulate(each)] for key, each in shares.items()}
    end = 4 + 2 * int.from_bytes(data[:4], "little")
    words = iter([word for (word,) in struct.iter_unpack("<H", data[4:end])])
    raw, used = int.from_bytes(data[end:], "little"), 0
    ans = next(words) << 16 | next(words)
    machine, points = 0, []
    for i, scale_class in enumerate(classes):
        machine = machine if i % 2048 else 0
        q = machine >> 7 if states == 256 else 0
        table = starts[(scale_class >> w) - first, q]
        slot = ans % 2**14
        symbol = symbol_at(table, slot)
        ans = (table[symbol + 1] - table[symbol]) * (ans >> 14) + slot - table[symbol]
        if ans < 2**16:
            ans = ans << 16 | next(words)
        magnitude = point = 0
        if symbol:
            extra = (symbol - 16) // 2 + 3 if symbol >= 16 else 0
            bits = raw >> used
            used += 1 + extra
            low = bits >> 1 & (1 << extra) - 1
            magnitude = (2 + (symbol - 16) % 2 << extra) + low if symbol >= 16 else symbol
            point = (2 * magnitude - q) * (-1 if bits & 1 else 1)
        points.append(point)
        machine = next_state(machine, magnitude % 2) if states == 256 else 0
    assert ans == 2**16
    assert next(words, None) is None
    assert (used + 7) // 8 == len(data) - end
    return points


def latents(model: bytes, streams: bytes, shapes: Sequence[Shape], states: int) -> list[list[int]]:
    """The points of each array, flat."""
    ends = list(accumulate([6, int.from_bytes(model[:3], "little"), int.from_bytes(model[3:6], "little")]))
    tables = tables_of(short_list(model[ends[0] : ends[1]]))
    groups = groups_of([prod(shape) for shape in shapes])
    modes = list(islice(short_list(model[ends[1] : ends[2]]), len(groups) + 6 * len(shapes)))
    lengths, modes = modes[: len(groups)], modes[len(groups) :]
    each = [modes[6 * i : 6 * i + 6] for i in range(len(shapes))]
    count = sum(
        size for told, shape in zip(each, shapes, strict=True) for mode, size in zip(told[::2], shape, strict=True) if mode
    )
    codes = iter(long_list(model[ends[2] :], [0] * count)) if count > 4096 else islice(short_list(model[ends[2] :]), count)
    classes = [classes_of(told, codes, shape) for told, shape in zip(each, shapes, strict=True)]
    points: list[list[int]] = []
    start = 0
    for group, length in zip(groups, lengths, strict=True):
        found = stream_points(streams[start : start + length], [c for i in group for c in classes[i]], tables, states)
        for i in group:
            points.append(found[: len(classes[i])])
            found = found[len(classes[i]) :]
        start += length
    assert start == len(streams)
    return points
