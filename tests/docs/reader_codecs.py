"""The codecs of today on top of `reader`, from docs/FORMAT.md alone. Values are lists of Python's numbers."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from math import cos, pi, prod, sqrt

import numpy as np
import zstandard
from reader import File, Shape, latents, long_list, parts_of, sections_of, short_list

MANTISSAS = (1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429)
PLANES = {
    **{"float16": (8, 8), "complex32": (8, 8), "bfloat16": (10, 6), "float32": (10, 6, 8, 8), "complex64": (10, 6, 8, 8)},
    **{"float64": (12, 4, 8, 8, 8, 8, 8, 8), "complex128": (12, 4, 8, 8, 8, 8, 8, 8)},
}
CODECS: dict[str, Callable[[File, int, list], dict[str, np.ndarray]]] = {}  # filled below, and by reader_families
WIDTHS = {"bool": 1, "16": 2, "32": 4, "64": 8, "complex32": 4, "complex64": 8, "complex128": 16}


def decode(file: File) -> dict[str, np.ndarray | bytes]:
    """Lossy tensors as float32 arrays, exact ones as their bytes."""
    found: dict[str, np.ndarray | bytes] = {}
    for exact, number, tensors in parts_of(file.header):
        if exact:
            (section,) = sections_of(file, number, ["exact"])
            found |= exact_tensors(section, tensors) if file.version == 2 else exact_tensors_of_version_1(section, tensors)
        else:
            found |= CODECS[file.header["codec"]](file, number, tensors)
    return found


# auto.2


def steps(section: bytes, base: float, count: int) -> list[float]:
    codes = islice(short_list(section), count)
    return [base * MANTISSAS[code % 4] * 2.0 ** (code // 4) for code in codes]


def views(shape: tuple[int, ...]) -> list[Shape]:
    three = [*shape[:2], *[1] * (2 - len(shape)), prod(shape[2:])]
    sizes = [size for size in three if size != 1]
    if 0 in sizes:
        return [(0, 0, 0)]
    if len(sizes) < 2:
        return [(1, 1, prod(sizes))]
    if len(sizes) == 3:
        o, i, t = sizes
        return [(o, i, t), *([(o, 1, i * t)] if i * t <= 512 else [])]
    r, c = sizes
    return [(r, 1, c), *((r, c // n, n) for n in lengths(c)), *((r // n, n, c) for n in lengths(r))]


def lengths(size: int) -> list[int]:
    return [n for n in range(2, size) if size % n == 0 and (size // n in (2, 3, 4) or 4 <= n <= 128)]


def auto(file: File, number: int, tensors: list) -> dict[str, np.ndarray]:
    sections = sections_of(file, number, ["steps", "model", "symbols", "transforms"])
    return auto_tensors(sections, file.header["meta"]["step"], file.header["meta"]["states"], tensors)


def auto_tensors(sections: list[bytes], base: float, states: int, tensors: list) -> dict[str, np.ndarray]:
    codes, model, symbols, section = sections
    choices, bases = transforms(section, [shape for _, shape, _ in tensors])
    shapes: list[Shape] = []
    for view, along in choices:
        a, b, c = (bases[n - 2].shape[1] if n > 1 else size for n, size in zip(along, view, strict=True))
        shapes.append((a, b, c))
    points = latents(model, symbols, shapes, states)
    found = {}
    for (name, shape, _), (view, along), size, array, step in zip(
        tensors, choices, shapes, points, steps(codes, base, len(tensors)), strict=True
    ):
        values = np.array(array, object).reshape(size)  # Python's integers, which are exact
        for axis in range(3):
            if along[axis]:
                basis = (cosine(view[axis]) if along[axis] == 1 else bases[along[axis] - 2]).astype(object)
                values = np.moveaxis(np.tensordot(basis, values, (1, axis)), 0, axis)
        unit = step * 2.0 ** (-11 * sum(n > 0 for n in along))
        found[name] = np.array([np.float32(float(value) * unit) for value in values.reshape(-1)], np.float32).reshape(shape)
    return found


def transforms(section: bytes, shapes: list) -> tuple[list[tuple[Shape, list[int]]], list[np.ndarray]]:
    if not section:
        return [(views(shape)[0], [0, 0, 0]) for shape in shapes], []
    size, at = in_base_128(section, 0)
    numbers, coded = short_list(section[at : at + size]), section[at + size :]
    size, at = in_base_128(coded, 0)
    coded = coded[at:]
    assert len(coded) == size
    count, choices = next(numbers), []
    for shape in shapes:
        view = views(shape)[next(numbers)]
        choices.append((view, [next(numbers) if 1 < size <= 1024 else 0 for size in view]))
    of_length = {n - 2: size for view, along in choices for n, size in zip(along, view, strict=True) if n > 1}
    exponents = []
    for d in range(count):
        rank = of_length[d] - next(numbers)
        exponents.append(list(accumulate(islice(numbers, rank))))
    classes = [
        [
            max(0, min(2 * e - (of_length[d] - 1 - j).bit_length() + 8, 31))
            for j, e in enumerate(exponents[d])
            for _ in range(of_length[d] - 1 - j)
        ]
        for d in range(count)
    ]
    stored = iter(long_list(coded, [each for some in classes for each in some]))
    return choices, [learned(of_length[d], exponents[d], list(islice(stored, len(classes[d])))) for d in range(count)]


def cosine(length: int) -> np.ndarray:
    table = [round(cos(k * pi / (2 * length)) * sqrt(2 / length) * 2**11) for k in range(4 * length)]
    first = round(sqrt(1 / length) * 2**11)
    return np.array([[table[(2 * p + 1) * f % (4 * length)] if f else first for f in range(length)] for p in range(length)])


def learned(length: int, exponents: list[int], numbers: list[int]) -> np.ndarray:
    rank = len(exponents)
    columns, at = [], 0
    for j, exponent in enumerate(exponents):
        size = length - 1 - j
        columns.append([0] * j + [2**14] + [number * 2 ** (14 - exponent) for number in numbers[at : at + size]])
        at += size
    vectors = np.array(columns, np.float64).T  # [length, rank]
    q = np.zeros((length, rank))
    np.fill_diagonal(q, 2.0**24)
    for start in reversed(range(0, rank, 16)):
        v, b = vectors[start:, start : start + 16], q[start:, start:]
        g, s = v.T @ v * 2.0**-28, v.T @ b * 2.0**-14
        for row in reversed(range(len(s))):
            for later in range(row + 1, len(s)):
                s[row] -= g[row, later] * s[later]
            s[row] *= 2.0 / g[row, row]
        q[start:, start:] = np.rint(b - v @ np.rint(s) * 2.0**-14)
    return np.rint(q * 2.0**-13).astype(int)


def in_base_128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


# paper.2


def paper(file: File, number: int, tensors: list) -> dict[str, np.ndarray]:
    meta = file.header["meta"]
    latent, hidden, chunk = meta["latent"], meta["hidden"], meta["chunk"]
    decoder, section = sections_of(file, number, ["decoder", "latents"])
    weights = sum(prod(shape) for _, shape, _ in tensors)
    count = (weights + meta["padding"]) // chunk
    first, second = layers(decoder, [(latent + 1, 1, hidden), (hidden + 1, 1, chunk)])
    (z,) = layers(section, [(count, 1, latent)])
    p = z @ first[:-1] + first[-1]
    y = np.maximum(8 * p, p) @ second[:-1] + second[-1] * 2 ** meta["mean_shift"]
    values = (y.astype(np.float64) * meta["unit"] + meta["offset"]).astype(np.float32).reshape(-1)
    found = {}
    for name, shape, _ in tensors:
        found[name], values = values[: prod(shape)].reshape(shape), values[prod(shape) :]
    return found


def layers(data: bytes, shapes: list[Shape]) -> Iterator[np.ndarray]:
    for shape in shapes:
        model, streams = struct.unpack_from("<II", data)
        (points,) = latents(data[8 : 8 + model], data[8 + model : 8 + model + streams], [shape], 256)
        data = data[8 + model + streams :]
        yield np.array(points, np.int64).reshape(shape[0], shape[2])
    assert not data


CODECS |= {"auto.2": auto, "paper.2": paper}

# Exact tensors


def exact_tensors(section: bytes, tensors: list) -> dict[str, bytes]:
    groups: dict[str, list[tuple[str, int]]] = {}
    for name, shape, dtype in tensors:
        groups.setdefault(dtype, []).append((name, prod(shape) * width_of(dtype)))
    found = dict.fromkeys((name for name, _, _ in tensors), b"")
    at = 32
    for dtype, members in groups.items():
        planes = PLANES.get(dtype, (8,) * width_of(dtype))
        width = sum(planes) // 8
        sequence = bytearray()
        while len(sequence) < sum(size for _, size in members):
            count, size, mode = struct.unpack_from("<IIB", section, at)
            sequence += block(mode, section[at + 9 : at + 9 + size], count, width, planes, dtype in PLANES)
            at += 9 + size
        for name, size in sorted(members, key=lambda member: member[1] >= 32768):
            found[name], sequence = bytes(sequence[:size]), sequence[size:]
        assert not sequence
    assert at == len(section) or not section
    assert not any(found.values()) or hashlib.sha256(b"".join(found.values())).digest() == section[:32]
    return found


def exact_tensors_of_version_1(section: bytes, tensors: list) -> dict[str, bytes]:
    data = zstandard.decompress(section) if section else b""
    found, at = {}, 0
    for name, shape, dtype in tensors:
        size, width = prod(shape) * width_of(dtype), width_of(dtype)
        each = size // width
        found[name] = bytes(data[at + place * each + i] for i in range(each) for place in range(width))
        at += size
    assert at == len(data)
    return found


def width_of(dtype: str) -> int:
    return next(
        (WIDTHS[end] for end in ("bool", "complex32", "complex64", "complex128", "16", "32", "64") if dtype.endswith(end)), 1
    )


def block(mode: int, body: bytes, count: int, width: int, planes: tuple[int, ...], is_float: bool) -> bytes:
    if mode == 0:
        return body
    if mode == 1:
        return zstandard.decompress(body)
    if mode == 2:
        elements, at = from_planes(body, 0, count, planes, is_float)
    else:
        num_some = int.from_bytes(body[:4], "little")
        some, at = flags(body, 4, count)
        negative, at = flags(body, at, count - num_some)
        present, at = from_planes(body, at, num_some, planes, is_float)
        values, zeros = iter(present), iter(negative)
        elements = [next(values) if is_some else next(zeros) << 8 * width - 1 for is_some in some]
    assert at == len(body)
    return b"".join(element.to_bytes(width, "little") for element in elements)


def flags(body: bytes, at: int, count: int) -> tuple[list[int], int]:
    values, at = plane(body, at, -(-count // 8), 8)
    return [values[i // 8] >> i % 8 & 1 for i in range(count)], at


def from_planes(body: bytes, at: int, count: int, planes: tuple[int, ...], is_float: bool) -> tuple[list[int], int]:
    elements, width = [0] * count, sum(planes)
    for bits in planes:
        values, at = plane(body, at, count, bits)
        elements = [element << bits | value for element, value in zip(elements, values, strict=True)]
    if is_float:
        elements = [element >> 1 | (element & 1) << width - 1 for element in elements]
    return elements, at


def plane(body: bytes, at: int, count: int, bits: int) -> tuple[list[int], int]:
    method, size = body[at], int.from_bytes(body[at + 1 : at + 5], "little")
    data, at = body[at + 5 : at + 5 + size], at + 5 + size
    if method == 0:
        return [int.from_bytes(data, "little")] * count, at
    if method == 1 and bits == 8:
        return list(data), at
    if method == 1:
        spare = 8 - bits
        each = -(-count // (8 // spare))
        values = [byte & (1 << bits) - 1 for byte in data] + [0] * each
        for i, byte in enumerate(data):
            values[len(data) + i % each] |= byte >> bits << spare * (i // each)
        return values[:count], at
    if method == 2:
        return rans(data, count), at
    return [value for (value,) in struct.iter_unpack("<B" if bits <= 8 else "<H", zstandard.decompress(data))], at


def rans(data: bytes, count: int) -> list[int]:
    slots: list[tuple[int, int, int]] = []  # (value, frequency, start)
    value = at = 0
    while len(slots) < 4096:
        gap, at = in_base_128(data, at)
        present, at = in_base_128(data, at)
        value += gap
        for _ in range(present):
            less_one, at = in_base_128(data, at)
            slots += [(value, less_one + 1, len(slots))] * (less_one + 1)
            value += 1
    states = list(struct.unpack_from("<4Q", data, at))
    words = iter([word for (word,) in struct.iter_unpack("<I", data[at + 32 :])])
    values = []
    for i in range(-(-count // 8) * 8):
        k = i % 8 // 2
        slot = states[k] % 4096
        value, frequency, start = slots[slot]
        values.append(value)
        states[k] = frequency * (states[k] >> 12) + slot - start
        if i % 2 and states[k] < 2**29:
            states[k] = states[k] << 32 | next(words)
    assert states == [2**29] * 4
    assert next(words, None) is None
    return values[:count]
