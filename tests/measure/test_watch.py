import contextlib
import os
import signal
import sys
import threading
import time

import pytest

from weightzip.errors import MeasurementError
from weightzip.measure.watch import watch

HOLD = "data = bytearray({}); data[::4096] = bytes(len(data[::4096]))"


def python(*arguments):
    return [sys.executable, "-S", "-c", *arguments]


def test_the_peak_is_the_commands_own():
    """Not the tests', who have imported torch: Linux has a child begin with its parent's peak."""
    small = watch("small", python("pass"), os.environ)
    large = watch("large", python(HOLD.format(200_000_000)), os.environ)
    assert small.peak < 60e6
    assert 190e6 < large.peak - small.peak < 220e6


def test_the_time_is_the_commands_own():
    assert watch("sleep", python("import time; time.sleep(0.5)"), os.environ).seconds >= 0.5


def test_what_a_command_prints_is_not_in_the_way():
    assert watch("loud", python("print('{}' * 100000)"), os.environ).seconds > 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('first\\nlast words\\n\\n')", "name: its process ended with code 1: last words"),
        ("import os; os.kill(os.getpid(), 9)", "name: its process ended with code -9"),
    ],
)
def test_a_failure_is_told(code, words):
    with pytest.raises(MeasurementError) as raised:
        watch("name", python(code), os.environ)
    assert str(raised.value) == words


def test_a_command_that_is_not_there():
    with pytest.raises(MeasurementError, match="cannot be started"):
        watch("name", ["/nowhere/python"], os.environ)


def test_an_interruption_stops_the_command(tmp_path):
    note = tmp_path / "pid"
    command = python("import os, sys, time; open(sys.argv[1], 'x').write(f'{os.getpid()} '); time.sleep(600)", str(note))

    def interrupt():
        while not note.exists() or not note.read_text().endswith(" "):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            watch("name", command, os.environ)
    finally:
        signal.signal(signal.SIGUSR1, before)
    wait_for_end(int(note.read_text()))


def wait_for_end(pid: int) -> None:
    """Until the process is gone, or dead and only not yet waited for by the system."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for _ in range(6000):
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
            time.sleep(0.01)
        raise AssertionError(f"process {pid} goes on")
