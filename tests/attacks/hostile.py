"""How an attack is written down, and what most of them are made of: a small honest file, with something else in one place."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import zstandard

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))  # for wz_parts.py

from wz_parts import Parts, Section

from weightzip.errors import WeightzipError

GOLDEN = Path(__file__).parents[1] / "golden"
Make = Callable[[], bytes]


@dataclass(frozen=True)
class Attack:
    """make: the file; error, match: how reading it is refused. cap: bytes given as --memory, None for none.

    late: whether only decoding tells, so that `info` may show what the file says of itself. slow: whether it takes seconds.
    """

    make: Make
    error: type[WeightzipError]
    match: str
    cap: int | None
    late: bool
    slow: bool


ATTACKS: dict[str, Attack] = {}


def attack(
    error: type[WeightzipError], match: str, *, cap: int | None = None, late: bool = False, slow: bool = False
) -> Callable[[Make], Make]:
    """Register a function as the maker of the attack that it is named after."""

    def register(make: Make) -> Make:
        assert make.__name__ not in ATTACKS
        ATTACKS[make.__name__] = Attack(make, error, match, cap, late, slow)
        return make

    return register


@cache
def golden(name: str) -> Parts:
    """An honest file, taken apart."""
    return Parts.of((GOLDEN / f"{name}.wz").read_bytes())


def exact_block(elements: bytes, count: int, *, mode: int = 0, body: bytes | None = None) -> bytes:
    """A block of an exact section: stored as it is, unless told otherwise."""
    body = elements if body is None else body
    return count.to_bytes(4, "little") + len(body).to_bytes(4, "little") + bytes([mode]) + body


def exact_section(values: bytes, *blocks: bytes) -> bytes:
    """An exact section whose tensors have these bytes."""
    return hashlib.sha256(values).digest() + b"".join(blocks)


VALUES = np.arange(6, dtype="<f4").tobytes()  # of a tensor w [2, 3]
HONEST = exact_section(VALUES, exact_block(VALUES, 6))


def header(**fields: object) -> dict:
    """That of a file with one exact tensor w [2, 3]."""
    usual = {
        "codec": "lossless.2",
        "meta": {},
        "tensors": [["w", [2, 3], "float32", 1]],
        "layout": {"format": "torch", "name": "model.pt"},
        "error": [0, 0],
    }
    return usual | fields


def packed(head: object, **sections: bytes) -> bytes:
    """A file with this header (JSON, or its text); sections: "exact" by default. A dot in a name is written __ here."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    sections = sections or {"exact": HONEST}
    named = [Section(name.replace("__", ".").encode(), data) for name, data in sections.items()]
    return Parts((Section(b"header", zstandard.compress(text)), *named)).join()


def honest() -> bytes:
    """No attack: what most of them would be without what is wrong with them."""
    return packed(header())
