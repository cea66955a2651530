"""Numbers of threads: limited for a while, restored whatever else goes on in the process, and one per item side by side."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from weightzip.errors import UsageError
from weightzip.threads import limited_threads, side_by_side

WAIT = 30  # seconds; a busy machine is slow


@pytest.fixture(autouse=True)
def usual() -> Iterator[int]:
    """How many threads torch has outside of the blocks that are tested, none of which sets as many."""
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield 5
    torch.set_num_threads(before)


def in_a_new_thread(function: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def together(function: Callable[[int], int], count: int = 3) -> list[int]:
    """The function's results for 0, 1, ..., each in a Python thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


@pytest.mark.parametrize("error", [None, ValueError])
def test_threads_are_limited_for_a_while(error):
    before = torch.get_num_threads()
    try:
        with limited_threads(2):
            assert torch.get_num_threads() == 2
            if error:
                raise error
    except ValueError:
        pass
    assert torch.get_num_threads() == before
    with limited_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(threads):
    with pytest.raises(UsageError, match=f"at least 1, not {threads}"), limited_threads(threads):
        pass


def test_working_side_by_side_leaves_other_threads_alone():
    seen = []
    with limited_threads(2):
        assert side_by_side(lambda item: (item, torch.get_num_threads()), [3, 1, 2]) == [(3, 1), (1, 1), (2, 1)]
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (seen, torch.get_num_threads()) == ([2], 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_of_what_is_done_side_by_side_is_raised(threads):
    def fail(item):
        if item % 2:
            raise ValueError(item)
        return item

    with limited_threads(threads), pytest.raises(ValueError, match=r"^1$"):
        side_by_side(fail, range(6))


def test_limits_that_overlap_leave_nothing_behind(usual):
    """The first to begin ends first; the others, in threads that torch did not know, have begun with its number."""
    begun, ended = ([threading.Event() for _ in range(3)] for _ in range(2))

    def limited(index):
        if index:
            assert begun[index - 1].wait(WAIT)
        with limited_threads(index + 1):
            begun[index].set()
            assert begun[2].wait(WAIT)
            assert index == 0 or ended[index - 1].wait(WAIT)
            assert torch.get_num_threads() == index + 1
        ended[index].set()
        return torch.get_num_threads()

    assert together(limited) == [usual] * 3
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == usual


def test_calls_side_by_side_that_overlap_have_all_their_threads(usual):
    """As many as is usual, not as many as another call has left to torch: all items of all calls wait for each other."""
    begun, meeting = threading.Event(), threading.Barrier(6)

    def item(_):
        begun.set()
        meeting.wait(WAIT)
        return torch.get_num_threads()

    def call(index):
        assert index == 0 or begun.wait(WAIT)
        return side_by_side(item, range(2)), torch.get_num_threads()

    assert together(call) == [([1, 1], usual)] * 3
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == usual


def test_a_thread_that_began_in_a_limit_does_not_spread_it(usual):
    """Torch gives it the number of the moment for good; what others begin with is not its business."""
    with ThreadPoolExecutor(1) as pool:
        with limited_threads(1):
            assert pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(side_by_side, lambda _: torch.get_num_threads(), range(2)).result() == [1, 1]
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == usual


def test_a_limit_around_what_is_done_side_by_side_and_within(usual):
    meeting = threading.Barrier(2)

    def item(_):
        meeting.wait(WAIT)
        with limited_threads(3):
            within = torch.get_num_threads()
        return (within, torch.get_num_threads())

    with limited_threads(2):
        assert side_by_side(item, range(4)) == [(3, 1)] * 4
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == usual


def test_the_largest_items_begin_first():
    begun = []
    with limited_threads(2):
        assert side_by_side(lambda item: begun.append(item) or item, "abcd", [1, 5, 2, 9]) == list("abcd")
    assert set(begun[:2]) == {"b", "d"}


def test_the_first_error_is_that_of_the_first_item_whatever_begins_first():
    def fail(item):
        raise ValueError(item)

    with limited_threads(2), pytest.raises(ValueError, match=r"^a$"):
        side_by_side(fail, "abc", [1, 2, 3])
