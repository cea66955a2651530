"""A process that is stopped at any moment leaves its source as it was, and under the target's name all or nothing."""

import random
import signal

import pytest
from harness import Job, after, check_ending, stop, stop_many

POLITE = [signal.SIGINT, signal.SIGTERM]


def test_a_few_kills(job: Job):
    tally = stop_many(job, signal.SIGKILL, 3, seed=1, force=True)
    assert tally.before >= 1  # or nothing was put to the test
    job.check_again()


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True], ids=["new", "over an old one"])
def test_a_hundred_kills(any_job: Job, force: bool, record_property):
    tally = stop_many(any_job, signal.SIGKILL, 100, seed=2, force=force)
    record_property("tally", str(tally))
    print(tally)  # noqa: T201
    assert tally.before >= 20  # or nothing was put to the test
    any_job.check_again()


@pytest.mark.parametrize("number", POLITE)
def test_whoever_asks_to_stop_finds_nothing_left(job: Job, number: int):
    """In the middle of the work, when handlers are in place and the end is far."""
    share = random.Random(number).uniform(0.4, 0.7)
    ended = stop(number, job.command, after(share * job.seconds))
    job.check({})
    check_ending(ended, number)
    assert job.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", POLITE)
def test_thirty_interruptions(job: Job, number: int):
    tally = stop_many(job, number, 30, seed=3, force=True)
    print(tally)  # noqa: T201
    assert tally.leftovers == 0
