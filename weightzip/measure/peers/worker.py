"""A process that holds one codec and one checkpoint, and measures the one on the other whenever it is asked to.

Started with three arguments: a tiny checkpoint to warm up with, the checkpoint, the number of threads. It says {} when both
are loaded, then answers each request, {"verb": "try" or "measure", "setting": number or null}, by one JSON object on a line:

    try      num_bytes, relative_mse
    measure  the same, and encode_seconds, decode_seconds, encode_peak, decode_peak
             (bytes; null where nobody can tell)

An exception is answered by {"error": text}.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TextIO

from .memory import PeakMemory

_MOST_REPETITIONS = 5
_QUICK = 10.0  # seconds that repetitions may take in all


class Coder(Protocol):
    """A codec with the checkpoint that it is to code. usual: a setting to warm up with."""

    usual: Any

    def ready(self) -> None:
        """Undo whatever encoding did to the source. Not timed."""

    def encode(self, setting: Any) -> Any:
        """All bytes that decoding takes, from the tensors in memory."""

    def decode(self, data: Any) -> Any:
        """The tensors, or whatever holds them, from these bytes."""

    def relative_mse(self, decoded: Any) -> float:
        """Mean square error over mean square, of all floating-point tensors. Not timed."""


def serve(make: Callable[[str, int], Coder]) -> None:
    """Answer requests until there are no more. make: from a checkpoint's path and a number of threads to a Coder."""
    tiny, source, threads = sys.argv[-3:]
    bench = _Bench()
    verbs = {"try": bench.attempt, "measure": bench.measure}
    with _taken_stdout() as answers:
        loaded = _answer(answers, partial(bench.load, make, tiny, source, int(threads)))
        for line in sys.stdin if loaded else ():
            request = json.loads(line)
            _answer(answers, partial(verbs[request["verb"]], request["setting"]))


def _answer(answers: TextIO, work: Callable[[], dict[str, Any]]) -> bool:
    """Send what the work gives, or why it gives nothing; returns whether it gave something."""
    try:
        found = work()
    except Exception as error:
        found = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
    answers.write(json.dumps(found) + "\n")
    answers.flush()
    return "error" not in found


def _taken_stdout() -> TextIO:
    """A stream to where stdout went; whatever a library prints from now on goes to stderr, even if it is written in C."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


class _Bench:
    """The codec, and how much memory there was in use before it did anything."""

    _coder: Coder
    _memory: PeakMemory

    def load(self, make: Callable[[str, int], Coder], tiny: str, source: str, threads: int) -> dict[str, Any]:
        """Import, compile and allocate once on the tiny checkpoint what is needed only once; then load the other."""
        warm = make(tiny, threads)
        warm.ready()
        warm.relative_mse(warm.decode(warm.encode(warm.usual)))
        del warm
        self._coder = make(source, threads)
        self._coder.ready()
        self._memory = PeakMemory()
        return {}

    def attempt(self, setting: Any) -> dict[str, Any]:
        """Encode and decode once."""
        self._coder.ready()
        data = self._coder.encode(setting)
        return self._judged(data, self._coder.decode(data))

    def measure(self, setting: Any) -> dict[str, Any]:
        """Encode and decode a few times if that is quick, and report the fastest time and the first peak of each."""
        begin = time.perf_counter()
        data, decoded, best = self._once(setting)
        repetitions = 1
        while repetitions < _MOST_REPETITIONS and (time.perf_counter() - begin) * (repetitions + 1) < _QUICK * repetitions:
            del data, decoded
            data, decoded, times = self._once(setting)
            best.update((name, min(best[name], times[name])) for name in ("encode_seconds", "decode_seconds"))
            repetitions += 1
        return {**self._judged(data, decoded), **best}

    def _judged(self, data: Any, decoded: Any) -> dict[str, Any]:
        """The file's size and error. Raises ValueError where what came back is not even numbers."""
        relative_mse = self._coder.relative_mse(decoded)
        if not math.isfinite(relative_mse):
            raise ValueError("what it restores is not finite")
        return {"num_bytes": len(data), "relative_mse": relative_mse}

    def _once(self, setting: Any) -> tuple[Any, Any, dict[str, Any]]:
        self._coder.ready()
        data, encode_seconds, encode_peak = self._watched(self._coder.encode, setting)
        decoded, decode_seconds, decode_peak = self._watched(self._coder.decode, data)
        figures = {
            "encode_seconds": encode_seconds,
            "decode_seconds": decode_seconds,
            "encode_peak": encode_peak,
            "decode_peak": decode_peak,
        }
        return data, decoded, figures

    def _watched(self, work: Callable[[Any], Any], argument: Any) -> tuple[Any, float, int | None]:
        """What the work gives, how many seconds it takes, and how many bytes at its peak."""
        self._memory.restart()
        start = time.perf_counter()
        result = work(argument)
        return result, time.perf_counter() - start, self._memory.peak()
