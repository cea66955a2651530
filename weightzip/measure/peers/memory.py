"""How much memory a process takes at its peak, by what its system says."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory (resident bytes) that was in use since the last restart, beyond what was when this was made.

    Linux can forget an earlier peak. Other systems cannot: there, a peak is the largest since the process began, and a
    decoder's may be its encoder's. Where a system does not say anything, a peak is None.
    """

    def __init__(self) -> None:
        self.restart()
        self._before = _largest()

    def restart(self) -> None:
        """Give freed memory back to the system, and forget the peak."""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # malloc_trim is glibc's own
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            _RESET.write_text("5")

    def peak(self) -> int | None:
        """Bytes."""
        largest = _largest()
        return None if largest is None or self._before is None else max(0, largest - self._before)


def _largest() -> int | None:
    """The largest resident size of this process, in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
        if found:
            return 1024 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
