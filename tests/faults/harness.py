"""Running the program in processes of its own, stopping them at random moments, and telling what they left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import weightzip

Moment = Callable[[subprocess.Popen[str]], None]  # waits for it, or for the end of the process

HANGS = 120  # seconds after which a process is stuck
_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended. seconds: what it took from its start. late: it had ended before anybody stopped it."""

    code: int
    out: str
    err: str
    seconds: float
    late: bool = False


def start(arguments: tuple[str | Path, ...], *, file_limit: int | None = None, **variables: str) -> subprocess.Popen[str]:
    """`weightzip ARGUMENTS`, on one thread unless they say otherwise. file_limit: bytes that a file may have."""
    command = [sys.executable, "-m", "weightzip", *map(str, arguments)]
    if file_limit is not None:
        command = [sys.executable, "-S", "-c", _LIMITED, str(file_limit), *command]
    paths = [str(Path(weightzip.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def run(*arguments: str | Path, file_limit: int | None = None, **variables: str) -> Ended:
    """Run a command line to its end. variables: of its environment."""
    with started(arguments, file_limit=file_limit, **variables) as (process, begin):
        return _end(process, begin)


def meddle(
    arguments: tuple[str | Path, ...], when: Moment, act: Callable[[subprocess.Popen[str]], None], **variables: str
) -> Ended:
    """Run a command line to its end, and do something to it, or to what it needs, once `when` returns."""
    with started(arguments, **variables) as (process, begin):
        when(process)
        late = process.poll() is not None
        act(process)
        return _end(process, begin, late)


def stop(number: int, arguments: tuple[str | Path, ...], when: Moment) -> Ended:
    """Run a command line, and send it a signal once `when` returns."""
    return meddle(arguments, when, lambda process: process.send_signal(number))


@contextlib.contextmanager
def started(
    arguments: tuple[str | Path, ...], *, file_limit: int | None = None, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A process and when it was started; it is gone when the block ends."""
    begin = time.monotonic()
    with start(arguments, file_limit=file_limit, **variables) as process:
        try:
            yield process, begin
        finally:
            process.kill()


def _end(process: subprocess.Popen[str], begin: float, late: bool = False) -> Ended:
    out, err = process.communicate(timeout=HANGS)
    return Ended(process.returncode, out, err, time.monotonic() - begin, late)


def after(seconds: float) -> Moment:
    """So many seconds from the start, or the end if that is sooner."""

    def wait(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)

    return wait


def while_writing(folder: Path, seconds: float) -> Moment:
    """So many seconds from when something new or changed is seen in the folder."""
    before = _names(folder)

    def wait(process: subprocess.Popen[str]) -> None:
        while process.poll() is None and _names(folder) == before:
            time.sleep(0.0005)
        after(seconds)(process)

    return wait


def _names(folder: Path) -> dict[str, int]:
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):  # gone by now
                path = Path(parent, name)
                found[str(path)] = path.lstat().st_ino
    return found


def contents(path: Path) -> dict[str, str]:
    """A hash of the file, or of each file in the folder, by its name there; empty where nothing is."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }


def remove(path: Path) -> None:
    """The file or the folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Job:
    """A command with what it reads and writes; `target` lies alone in a folder.

    options: the command line without the output. whole: the `contents` of the right output, which is always the same.
    num_bytes: of that output. seconds: what it took when all was well, and how many of them it had begun to write.
    """

    options: tuple[str | Path, ...]
    source: Path
    target: Path
    whole: dict[str, str]
    original: dict[str, str]
    num_bytes: int
    seconds: float
    writing: float

    @property
    def command(self) -> tuple[str | Path, ...]:
        """The whole command line."""
        return (*self.options, "-o", self.target)

    def at(self, folder: Path) -> Job:
        """The same command, writing into another folder."""
        return replace(self, target=folder / self.target.name)

    def leftovers(self) -> list[str]:
        """Whatever lies beside the target."""
        return sorted(path.name for path in self.target.parent.iterdir() if path != self.target)

    def check(self, old: dict[str, str]) -> bool:
        """Assert that source and target are whole; returns whether the target is the new one. old: the target's before."""
        assert contents(self.source) == self.original
        now = contents(self.target)
        assert now in (old, self.whole)
        return now == self.whole

    def check_again(self) -> None:
        """Assert that the same command does its work after all."""
        remove(self.target)
        before = self.leftovers()
        ended = run(*self.command)
        assert (ended.code, ended.err) == (0, "")
        assert self.check({})
        assert self.leftovers() == before


def make_job(*options: str | Path, target: Path) -> Job:
    """A job, with what it gives when all is well. options: the verb, then the source, then others."""
    source = Path(options[1])
    original = contents(source)
    target.parent.mkdir()
    seen: list[float] = []
    begin = time.monotonic()
    ended = meddle((*options, "-o", target), while_writing(target.parent, 0), lambda process: seen.append(time.monotonic()))
    assert ended.code == 0, ended.err
    files = [path for path in (target, *target.rglob("*")) if path.is_file()]
    job = Job(
        options=options,
        source=source,
        target=target,
        whole=contents(target),
        original=original,
        num_bytes=sum(path.stat().st_size for path in files),
        seconds=ended.seconds,
        writing=begin + ended.seconds - seen[0],
    )
    remove(target)
    return job


@dataclass
class Tally:
    """What became of many runs. before, after: stopped before the target had its name, and after. leftovers: beside it."""

    before: int = 0
    after: int = 0
    late: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    leftovers: int = 0

    def count(self, ended: Ended, done: bool) -> None:
        """One more run. done: whether the target is the new one."""
        self.codes[ended.code] = self.codes.get(ended.code, 0) + 1
        self.late += ended.late
        if done:
            self.after += 1
        else:
            self.before += 1


def stop_many(job: Job, number: int, times: int, seed: int, *, force: bool) -> Tally:
    """Stop the job `times` times, by turns at any moment and while it writes, over an old target (`force`) or none.

    Asserts after each that source and target are whole. What hidden files are left stays, for the next run to stumble over.
    """
    generator, tally = random.Random(seed), Tally()
    command = (*job.command, "-f") if force else job.command
    pace = 1.0  # of what the job took when it was made, on a machine that may have been busier
    for turn in range(times):
        old = _old_target(job) if force else {}
        uniform = after(generator.uniform(0, 1.05 * pace * job.seconds))
        when = uniform if turn % 2 == 0 else while_writing(job.target.parent, generator.uniform(0, 1.2 * pace * job.writing))
        ended = stop(number, command, when)
        pace = min(pace, ended.seconds / job.seconds) if ended.late else pace
        tally.count(ended, job.check(old))
        check_ending(ended, number)
        remove(job.target)
        assert all(name.startswith(".") for name in job.leftovers())
    tally.leftovers = len(job.leftovers())
    return tally


def check_ending(ended: Ended, number: int) -> None:
    """Assert that a process that was sent a signal ended as is usual, and said one line at most."""
    if ended.code == 0:
        assert ended.err == ""
        return
    assert ended.code in (-number, 128 + number), ended.err
    assert ended.err == ("interrupted\n" if ended.code > 0 else "")


def _old_target(job: Job) -> dict[str, str]:
    """Something else of the same kind under the target's name; returns its contents."""
    folder = set(job.whole) != {"."}
    if folder:
        job.target.mkdir()
    for name in job.whole:
        (job.target / name if folder else job.target).write_bytes(b"what was there before")
    return contents(job.target)


@contextlib.contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A file system of its own in memory. Skips the test where this process may not mount one."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no disk may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
