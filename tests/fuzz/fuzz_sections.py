"""Changes of what sections say, where chance alone would hardly ever hit it: coded numbers, and heads of blocks and planes."""

from __future__ import annotations

from itertools import islice
from random import Random

from weightzip.entropy import encode_integers, read_integers
from weightzip.errors import FormatError

_NUMBERS = (-(2**31) + 1, -4097, -1, 0, 1, 2, 3, 15, 16, 24, 63, 64, 68, 255, 1024, 4096, 1 << 16, 1 << 24, 2**31 - 1)
_DIGEST, _BLOCK_HEAD, _PLANE_HEAD = 32, 9, 5


def changed(random: Random, kind: str, data: bytes) -> bytes:
    """A section of some kind with something else to say; as it was where nothing is known of the kind."""
    if kind in ("steps", "scales"):
        return _numbers(random, data)
    if kind in ("model", "decoder", "latents", "residuals"):
        return _model(random, data)
    if kind == "transforms":
        return _transforms(random, data)
    if kind == "exact":
        return _heads(random, data)
    return data


def _numbers(random: Random, data: bytes, most: int = 400) -> bytes:
    """A list of integers with one or a few of them changed."""
    try:
        values = list(islice(read_integers(data), random.choice([8, 30, most])))
    except FormatError:
        return data
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(min(len(values), random.choice([6, 40, most])))
        values[place] = random.choice([*_NUMBERS, values[place] + 1, values[place] - 1, -values[place]])
    return encode_integers(max(-(2**31) + 1, min(value, 2**31 - 1)) for value in values)


def _model(random: Random, data: bytes) -> bytes:
    """What `weightzip.codec.symbols` calls a model, by itself, within a layer, or behind the first part of several."""
    for start in random.sample([0, 8, 16 + int.from_bytes(data[:4], "little")], 3):
        ends = [6, *(int.from_bytes(data[start + place : start + place + 3], "little") for place in (0, 3))]
        first, second = start + ends[0] + ends[1], start + sum(ends)
        if start + 6 < first < second <= len(data):
            lists = [data[start + 6 : first], data[first:second], data[second:]]
            chosen = random.randrange(3 if start == 0 else 2)
            lists[chosen] = _numbers(random, lists[chosen])
            return data[:start] + b"".join(len(each).to_bytes(3, "little") for each in lists[:2]) + b"".join(lists)
    return data


def _transforms(random: Random, data: bytes) -> bytes:
    if not data or data[0] > 127:
        return data
    numbers = _numbers(random, data[1 : 1 + data[0]])
    return bytes([len(numbers)]) + numbers + data[1 + data[0] :] if len(numbers) < 128 else data


def _heads(random: Random, data: bytes) -> bytes:
    """Another mode, number of elements or size of a block, or another method or size of its first plane."""
    blocks, at = [], _DIGEST
    while at + _BLOCK_HEAD <= len(data):
        blocks.append(at)
        at += _BLOCK_HEAD + int.from_bytes(data[at + 4 : at + 8], "little")
    if not blocks:
        return data
    at = random.choice(blocks)
    where, width = random.choice([(0, 4), (4, 4), (8, 1), (9, 1), (10, 4), (14, 1), (15, 1), (16, 2), (13, 5), (18, 4)])
    old = int.from_bytes(data[at + where : at + where + width], "little")
    new = random.choice(
        [0, 1, 2, 3, 4, old + 1, old - 1, old ^ 1 << random.randrange(8 * width), 1 << 20, (1 << 8 * width) - 1]
    )
    return data[: at + where] + (new % (1 << 8 * width)).to_bytes(width, "little") + data[at + where + width :]
