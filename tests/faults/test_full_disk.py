"""A disk that is full, or a file that may not grow: one line says so, and it is as if nothing had been tried."""

import errno
import os
import random
from pathlib import Path

import pytest
from harness import Ended, Job, meddle, run, small_disk, while_writing

PAGE = 4096  # bytes that a file in memory takes at least
SLOW = pytest.mark.slow
QUICK_AND_SLOW = [1, *(pytest.param(seed, marks=SLOW) for seed in range(2, 35))]  # of all randomness


def check_told(ended: Ended, job: Job) -> None:
    """Nothing was written, and one line says why."""
    assert ended.code == 1, ended
    assert ended.err.startswith(f"error: {job.target}")
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert not job.check({})
    assert job.leftovers() == []


def fill(disk: Path, left: int) -> None:
    """Take all but `left` bytes of what is free by now."""
    with (disk / "filler").open("wb") as file:
        for _ in range(1000):
            usage = os.statvfs(disk)
            try:
                return os.posix_fallocate(file.fileno(), 0, max(1, usage.f_bavail * usage.f_frsize - left))
            except OSError as error:
                if error.errno != errno.ENOSPC:  # the program was quicker
                    raise
    raise AssertionError("the disk cannot be filled")


@pytest.mark.parametrize("seed", QUICK_AND_SLOW)
def test_a_disk_that_is_too_small(job: Job, tmp_path: Path, seed: int):
    room = random.Random(seed).randrange(PAGE, job.num_bytes, PAGE)
    with small_disk(tmp_path / "disk", room) as disk:
        job = job.at(disk)
        check_told(run(*job.command, TMPDIR=str(disk)), job)


@pytest.mark.parametrize("seed", QUICK_AND_SLOW)
def test_a_disk_that_others_fill_meanwhile(job: Job, tmp_path: Path, seed: int):
    generator = random.Random(seed)
    moment, left = generator.uniform(0, job.writing) * generator.randrange(2), generator.randrange(0, job.num_bytes, PAGE)
    with small_disk(tmp_path / "disk", 8 * job.num_bytes) as disk:
        job = job.at(disk)

        ended = meddle(job.command, while_writing(disk, moment), lambda process: fill(disk, left), TMPDIR=str(disk))
        (disk / "filler").unlink()
        if ended.code == 0:  # it had written all that it has to write
            assert job.check({})
            assert job.leftovers() == []
        else:
            check_told(ended, job)


@pytest.mark.parametrize("seed", QUICK_AND_SLOW)
def test_a_file_that_may_not_grow(job: Job, seed: int):
    limit = random.Random(seed).randrange(1, job.num_bytes)
    check_told(run(*job.command, file_limit=limit), job)


@SLOW
@pytest.mark.parametrize("seed", range(5))
def test_other_files_that_may_not_grow(any_job: Job, seed: int):
    """Whatever the format; not every shard fits, and maybe none."""
    largest = any_job.num_bytes // max(1, len([name for name in any_job.whole if name.endswith(".safetensors")]))
    limit = random.Random(seed).randrange(1, largest)
    check_told(run(*any_job.command, file_limit=limit), any_job)
