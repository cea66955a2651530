"""Tries spoiled .wz files, as many as are wanted, in processes that are watched:

    python tests/fuzz/fuzz.py --count 200000 --seed 0 --workers 2 --keep failures

A worker that takes over 10 seconds for a file is stopped, one that dies is noticed, and none gets much more memory than it is
allowed to take. Prints what became of the files of each kind; ends with 1 if anything failed, with the files in --keep.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

from fuzz_corpus import corpus
from fuzz_mutations import KINDS, Mutant, mutant, seed_of
from fuzz_outcome import CAP, FAILED, OUTCOMES, Verdict, fingerprint, judge

HANGS = 10.0  # seconds of computing after which a file counts as one that never ends
STUCK = 120.0  # seconds after which it does so, even if it does not compute: a busy machine may let it wait
ALLOWED = CAP + (64 << 20) + (128 << 20)  # the cap, ALLOWANCE, and what a header of 16 MiB may take once it is parsed
Judge = Callable[[Mutant, Mapping[str, str]], Verdict]
_RENEWED = 500  # files after which the limit is set anew, as address space is never given back in whole


def make(seed: int, number: int, files: Mapping[str, bytes]) -> Mutant:
    """The mutant of that number; the same each time."""
    return mutant(Random(seed_of(seed, number)), files)


@dataclass
class Tally:
    """How many files of each kind had each outcome, and what failed: (number, kind, why)."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, number: int, kind: str, verdict: Verdict) -> None:
        """Count one file."""
        key = kind, verdict.outcome
        self.counts[key] = self.counts.get(key, 0) + 1
        if verdict.outcome == FAILED:
            self.failures.append((number, kind, verdict.why))

    def table(self) -> str:
        """All of it in Markdown."""
        rows = [["kind of change", *OUTCOMES, "all"]]
        rows += [[kind, *(f"{self._sum(kind, outcome):,}" for outcome in OUTCOMES), f"{self._sum(kind):,}"] for kind in KINDS]
        rows += [["all", *(f"{self._sum(None, outcome):,}" for outcome in OUTCOMES), f"{self._sum():,}"]]
        rows.insert(1, ["---"] + ["---:"] * (len(rows[0]) - 1))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def _sum(self, kind: str | None = None, outcome: str | None = None) -> int:
        return sum(count for key, count in self.counts.items() if kind in (None, key[0]) and outcome in (None, key[1]))


def in_process(seed: int, numbers: range, files: Mapping[str, bytes]) -> Tally:
    """Try files in this process, unwatched."""
    prints = {name: fingerprint(data) for name, data in files.items()}
    tally = Tally()
    for number in numbers:
        tried = make(seed, number, files)
        tally.add(number, tried.kind, judge(tried, prints))
    return tally


class Worker:
    """A process that tries the files of some numbers. It says which one it begins, and what became of it."""

    def __init__(self, seed: int, numbers: range, files: Mapping[str, bytes], judging: Judge) -> None:
        self._seed, self.numbers, self._files, self._judging = seed, numbers, files, judging
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._began: Any = context.Array(ctypes.c_double, [0.0, 0.0], lock=False)  # by the clock, and by the time computed
        self.pipe, other = context.Pipe(duplex=False)
        task = self._seed, self.numbers, self._files, self._judging
        self._process = context.Process(target=_try_all, args=(*task, self._began, other))
        self._process.start()
        other.close()

    def take(self, tally: Tally) -> bool:
        """Add what has come; whether there is more to come."""
        try:
            while self.numbers and self.pipe.poll():
                number, kind, verdict = self.pipe.recv()
                tally.add(number, kind, verdict)
                self.numbers = self.numbers[1:]
        except EOFError:
            self._process.join()
            self._failed(tally, f"the process ended with {self._process.exitcode}")
        if self.numbers and self._hangs():
            self._process.kill()
            self._process.join()
            self._failed(tally, f"takes more than {HANGS:.0f} s")
        return bool(self.numbers)

    def _hangs(self) -> bool:
        """Whether the file that is being tried has been so for too long."""
        began, computed = self._began
        if not 0 < began < time.monotonic() - HANGS:
            return False
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds - computed > HANGS or began < time.monotonic() - STUCK

    def _failed(self, tally: Tally, why: str) -> None:
        """Count the file that was being tried, and go on with the next one in a new process."""
        number = self.numbers[0]
        tally.add(number, make(self._seed, number, self._files).kind, Verdict(FAILED, why))
        self.numbers = self.numbers[1:]
        if self.numbers:
            self._start()


def watched(
    seed: int, count: int, num_workers: int, files: Mapping[str, bytes], *, first: int = 0, judging: Judge = judge
) -> Tally:
    """Try files in processes."""
    tally, start = Tally(), time.monotonic()
    ranges = [range(first + number, first + count, num_workers) for number in range(num_workers)]
    workers = [Worker(seed, numbers, files, judging) for numbers in ranges]
    told = start
    while workers := [worker for worker in workers if worker.take(tally)]:
        wait([worker.pipe for worker in workers], timeout=0.5)
        if time.monotonic() > told + 60:
            told = time.monotonic()
            done = sum(tally.counts.values())
            print(f"{done:,} files, {done / (told - start):.0f} a second, {len(tally.failures)} failed", file=sys.stderr)  # noqa: T201
    return tally


def _try_all(seed: int, numbers: range, files: Mapping[str, bytes], judging: Judge, began: Any, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    prints = {name: fingerprint(data) for name, data in files.items()}  # compiles what there is to be compiled
    for tried, number in enumerate(numbers):
        if tried % _RENEWED == 0:
            _limit_memory()
        made = make(seed, number, files)
        began[1], began[0] = time.process_time(), time.monotonic()
        pipe.send((number, made.kind, judging(made, prints)))
    began[0] = 0.0


def _limit_memory() -> None:
    """Let this process take no more than it has now and what it is allowed to: no library's allocation goes unseen."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + ALLOWED
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the files that failed")
    options = parser.parse_args()
    files = corpus()
    start = time.monotonic()
    tally = watched(options.seed, options.count, options.workers, files, first=options.first)
    lines = [tally.table(), f"seed {options.seed}, {options.count:,} files in {time.monotonic() - start:,.0f} s"]
    lines += [f"FAILED: {number}, {kind}: {why}" for number, kind, why in tally.failures]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number, _, _ in tally.failures:
            (options.keep / f"{options.seed}-{number}.wz").write_bytes(make(options.seed, number, files).data)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
