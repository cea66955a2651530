"""How long another program's process takes, and how much memory at its peak, imports and all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weightzip.errors import MeasurementError

# A process in between, as small as can be: Linux counts as a child's peak also what its parent held when it started it.
_WATCHER = """
import json, subprocess, sys, time

start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - start
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
except ImportError:  # Windows
    peak = None
words = done.stderr.decode(errors="replace").split("\\n")
last = next((line.strip() for line in reversed(words) if line.strip()), "")
print(json.dumps({"code": done.returncode, "seconds": seconds, "peak": peak, "said": last}))
"""


@dataclass(frozen=True)
class Watched:
    """What a process took. seconds: from its start to its end. peak: its largest resident size in bytes, None if unknown."""

    seconds: float
    peak: int | None


def watch(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Watched:
    """Run a command to its end; it is stopped if this is interrupted. name: for messages.

    Raises MeasurementError where the command fails, with the last line that it said.
    """
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-I", "-S", "-c", _WATCHER, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as watcher:
        try:
            answer, _ = watcher.communicate()
        finally:
            _end(watcher)
    if not answer:
        raise MeasurementError(f"{name}: its process cannot be started, or was stopped from outside")
    found = json.loads(answer)
    if found["code"]:
        said = f": {found['said']}" if found["said"] else ""
        raise MeasurementError(f"{name}: its process ended with code {found['code']}{said}")
    return Watched(found["seconds"], found["peak"])


def _end(watcher: subprocess.Popen[bytes]) -> None:
    """Both processes, if they still run."""
    if watcher.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(watcher.pid, signal.SIGKILL)
        else:
            watcher.kill()
