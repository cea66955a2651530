"""What weightzip must never do, done to see that the fuzzer notices it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fuzz import ALLOWED
from fuzz_mutations import Mutant
from fuzz_outcome import SAME, Verdict


@dataclass(frozen=True)
class Misbehaving:
    """A judge that does something odd when it sees one of these files."""

    how: str
    files: frozenset[bytes]

    def __call__(self, mutant: Mutant, prints: Mapping[str, str]) -> Verdict:
        if mutant.data in self.files:
            {"hang": _hang, "sleep": _sleep, "crash": _crash, "take memory": _take_memory, "leave": _leave}[self.how]()
        return Verdict(SAME, "")


def _hang() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(1000)


def _crash() -> None:
    ctypes.string_at(0)


def _take_memory() -> None:
    ctypes.create_string_buffer(2 * ALLOWED)


def _leave() -> None:
    os._exit(0)
