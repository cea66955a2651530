"""Ways to spoil a .wz file. Each takes a random generator and all files, and gives a file that is none of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random

import zstandard
from fuzz_sections import changed
from wz_parts import Parts, Section

_VALUES: tuple[object, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 63, 64, 65, 255, 256, 4096, 1 << 16, 1 << 20, 1 << 31, 1 << 40, 1 << 50, 1 << 53),
    *((1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63), 10**40, 0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"), float("nan")),
    *(
        "",
        "a",
        "x" * 5000,
        "ö",
        "\ud800",
        "\x00",
        "../../x",
        "nul",
        "a/b",
        "float32",
        "int8",
        "state",
        "torch",
        "shards",
        "lossless.2",
    ),
    *(
        [],
        {},
        [[]],
        [0],
        ["t"],
        ["list"],
        ["state", 1],
        ["tuple", ["t"]],
        ["set", 1, 1],
        ["dict", 1, 2],
        ["int", "0x1"],
        {"a": 1},
    ),
    *(["size", 1 << 62], ["device", "cuda:0"], ["bytes", "AA=="], ["odict"], ["counter", 1, 2], ["complex", "1", "nan"]),
)
_FEW = 300  # places of a header that may be repeated a thousand times
_MANY = 10_000  # places of a header, from which it is not made longer yet: thousands of thousands are no use
_FIELDS = ("codec", "meta", "tensors", "layout", "error", "latents", "parts")


@dataclass(frozen=True)
class Mutant:
    """kind: how it was made; origin: of which file. covered: whether a hash that covers the change was left as it was."""

    kind: str
    origin: str
    data: bytes
    covered: bool


def mutant(random: Random, files: Mapping[str, bytes]) -> Mutant:
    """One of any kind."""
    kind = random.choice(list(KINDS))
    while True:
        origin = random.choice(list(files))
        data = KINDS[kind](random, files[origin], files)
        if data not in files.values():
            return Mutant(kind, origin, data, kind in COVERED)


def _bits(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    return _flipped(random, data)


def _overwritten(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    start = random.randrange(len(data))
    length = random.randint(1, 40)
    return (data[:start] + random.randbytes(length) + data[start + length :])[: len(data)]


def _truncated(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    return data[: random.randrange(len(data))] if random.random() < 0.8 else data + random.randbytes(random.randint(1, 100))


def _moved(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """Bytes of this file or another in place of some, or between them."""
    other = random.choice([data, *files.values()])
    start, end = sorted(random.randrange(len(other) + 1) for _ in range(2))
    place = random.randrange(len(data) + 1)
    return data[:place] + other[start:end] + data[place + random.choice([0, end - start]) :]


def _spliced(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """A section of another file, or of this one, under the hash of what was there."""
    parts = Parts.of(data)
    index = random.randrange(len(parts.sections))
    old = parts.sections[index]
    stale = replace(old, data=_foreign(random, files).data, digest=Section(b"", old.data).entry()[7:])
    return parts.with_sections((*parts.sections[:index], stale, *parts.sections[index + 1 :])).join()


def _section(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    parts = Parts.of(data)
    for _ in range(random.choice([1, 1, 1, 2])):
        index = random.randrange(1, len(parts.sections)) if len(parts.sections) > 1 else 0
        parts = parts.with_section(index, _edited(random, parts.sections[index].data))
    return parts.join()


def _numbers(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    """Numbers that a section holds."""
    parts = Parts.of(data)
    index = random.randrange(len(parts.sections))
    section = parts.sections[index]
    return parts.with_section(index, changed(random, section.name.decode().split(".")[0], section.data)).join()


def _spliced_anew(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """Sections of other files, or in another order, with right hashes."""
    parts = Parts.of(data)
    for _ in range(random.choice([1, 1, 2])):
        index = random.randrange(len(parts.sections))
        alike = [
            section
            for file in files.values()
            for section in Parts.of(file).sections
            if section.name.split(b".")[0] == parts.sections[index].name.split(b".")[0]
        ]
        other = random.choice(alike) if random.random() < 0.7 else _foreign(random, files)
        parts = parts.with_section(index, other.data)
    return parts.join()


def _header(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """The header's JSON, changed in one to three places."""
    parts = Parts.of(data)
    header = parts.header
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        _change(random, header, files)
    return parts.with_header(_text(random, header)).join()


def _header_field(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """A field of the header as another file has it."""
    parts = Parts.of(data)
    header, other = parts.header, Parts.of(random.choice(list(files.values()))).header
    field = random.choice(_FIELDS)
    header.pop(field, None)
    if field in other:
        header[field] = other[field]
    return parts.with_header(header).join()


def _header_text(random: Random, data: bytes, _: Mapping[str, bytes]) -> bytes:
    """The text of the header, or what it is packed to."""
    parts = Parts.of(data)
    packed = parts.sections[0].data
    if random.random() < 0.3:
        return parts.with_packed_header(_edited(random, packed)).join()
    return parts.with_header(_edited(random, zstandard.decompress(packed))).join()


def _table(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """The table of contents, with a right hash of its own."""
    parts = Parts.of(data)
    sections = list(parts.sections)
    index = random.randrange(len(sections))
    old = sections[index]
    change = random.randrange(9)
    if change == 0:
        lengths = [
            0,
            len(old.data) + 1,
            max(len(old.data) - 1, 0),
            random.getrandbits(48),
            (1 << 48) - 1,
            random.getrandbits(8),
        ]
        sections[index] = replace(old, length=random.choice(lengths))
    elif change == 1:
        names = [
            b"",
            b"header",
            b"exact",
            b"exact.1",
            b"symbols",
            b"model.1",
            b"x" * 255,
            b"\xff",
            old.name + b".1",
            b"exact.01",
        ]
        sections[index] = replace(old, name=random.choice(names))
    elif change == 2:
        del sections[index]
    elif change == 3:
        sections.insert(random.randrange(len(sections) + 1), random.choice([old, _foreign(random, files)]))
    elif change == 4:
        random.shuffle(sections)
    elif change == 5:
        return replace(parts, version=random.choice([0, 1, 2, 3, 255])).join()
    elif change == 6:
        return replace(parts, flags=random.choice([1, 2, 128, 255])).join()
    elif change == 7:
        return parts.join(_edited(random, b"".join(section.entry() for section in sections)))
    else:
        sections.append(Section(old.name + b".%d" % random.choice([1, 2, 9, 10**9]), random.choice([b"", old.data])))
    return parts.with_sections(sections).join()


def _everything(random: Random, data: bytes, files: Mapping[str, bytes]) -> bytes:
    """Header and sections."""
    changes = (_section, _header, _spliced_anew, _header_field)
    for change in random.sample(changes, 2):
        data = change(random, data, files)
        try:
            Parts.of(data).header  # noqa: B018
        except (ValueError, zstandard.ZstdError, RecursionError):
            break
    return data


KINDS: dict[str, Callable[[Random, bytes, Mapping[str, bytes]], bytes]] = {
    "flipped bits": _bits,
    "overwritten bytes": _overwritten,
    "truncated or longer": _truncated,
    "moved bytes": _moved,
    "spliced sections": _spliced,
    "edited sections, hashed anew": _section,
    "numbers in sections, hashed anew": _numbers,
    "spliced sections, hashed anew": _spliced_anew,
    "edited header, hashed anew": _header,
    "fields of other headers, hashed anew": _header_field,
    "text of the header, hashed anew": _header_text,
    "table of contents, hashed anew": _table,
    "header and sections, hashed anew": _everything,
}
COVERED = frozenset(kind for kind in KINDS if "anew" not in kind)


def _flipped(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 8])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _edited(random: Random, data: bytes) -> bytes:
    """A byte string changed in one of many ways."""
    change = random.randrange(9)
    place = random.randrange(len(data) + 1)
    if change <= 2 and data:
        return _flipped(random, data)
    if change == 3:
        return data[:place] + random.randbytes(random.randint(1, 8)) + data[place:]
    if change == 4:
        return data[:place] + data[place + random.randint(1, 8) :]
    if change == 5:
        return data[:place]
    if change == 6:
        return data + random.choice([b"\0", bytes(8), random.randbytes(random.randint(1, 64)), data])
    if change == 7:  # where lengths are, as a rule
        start, width = random.choice([0, 0, 3, 4, 32, 36, place]), random.choice([1, 2, 3, 4, 8])
        return data[:start] + random.choice([bytes(width), b"\xff" * width, random.randbytes(width)]) + data[start + width :]
    return random.choice([b"", bytes(len(data)), random.randbytes(len(data)), b"\xff" * len(data)])


def _foreign(random: Random, files: Mapping[str, bytes]) -> Section:
    return random.choice(Parts.of(random.choice(list(files.values()))).sections)


def _places(node: object) -> list[tuple[dict | list, object]]:
    """(container, key) of every value inside a JSON value."""
    found, left = [], [node]
    while left:
        container = left.pop()
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            found.append((container, key))
            if isinstance(value, (dict, list)):
                left.append(value)
    return found


def _change(random: Random, header: dict, files: Mapping[str, bytes]) -> None:
    """Change one place of a header."""
    places = _places(header)
    if not 0 < len(places) < _MANY:
        return
    container, key = random.choice(places)
    change = random.randrange(9)
    if change <= 1:
        container[key] = deepcopy(random.choice(_VALUES))
    elif change == 2:
        del container[key]
    elif change == 3 and isinstance(container, list):
        container.insert(random.randrange(len(container) + 1), deepcopy(random.choice([container[key], *_VALUES])))
    elif change == 3:
        container[random.choice(["", "a", "step", "tree", "views", "\ud800", "x" * 300])] = container.pop(key)
    elif change == 4:
        container[key] = _tweaked(random, container[key])
    elif change == 5:
        other, place = random.choice(places)
        if place in (other if isinstance(other, dict) else range(len(other))):
            container[key] = deepcopy(other[place])
    elif change == 6:
        other, place = random.choice(_places(Parts.of(random.choice(list(files.values()))).header))
        container[key] = other[place]
    elif change == 7 and isinstance(container, list):
        container[:] = random.choice(
            [container * random.choice([2, 1000 if len(places) < _FEW else 3]), container[::-1], container[1:]]
        )
    else:
        for _ in range(random.choice([1, 2, 70, 300])):
            container[key] = random.choice([lambda value: ["list", value], lambda value: [value], lambda value: {"a": value}])(
                container[key]
            )


def _tweaked(random: Random, value: object) -> object:
    """A value of the same type, nearby."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return random.choice([value + 1, value - 1, -value, 2 * value, value ^ 1 << random.randrange(64), value * (1 << 20)])
    if isinstance(value, float):
        return random.choice([-value, value * 1e300, value * 1e-300, value + 1, int(value) if abs(value) < 1e300 else 0])
    if isinstance(value, str):
        return random.choice([value + "x", value[1:], value[::-1], value * 3, value.upper(), "../" + value, value + "\0"])
    if isinstance(value, list):
        return random.sample(value, len(value))
    assert isinstance(value, dict)
    return dict(random.sample(list(value.items()), len(value)))


def _text(random: Random, header: object) -> bytes:
    """As JSON; numbers that are none in one of two ways, and perhaps a field twice."""
    text = json.dumps(header)
    if random.random() < 0.5:
        text = text.replace("Infinity", "1e999")
    if random.random() < 0.02:
        text = text.replace("{", '{"meta":{},', 1)
    return text.encode()


def seed_of(seed: int, number: int) -> int:
    """For the generator of one mutant, so that each can be made again by itself."""
    return seed << 40 | number << 8 | zlib.crc32(b"%d" % number) & 0xFF
