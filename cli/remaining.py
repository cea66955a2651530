"""How long it will still take, told from how much of the whole is done."""

from __future__ import annotations

import math

_FIRST_SECONDS = 2.0  # sooner nobody can tell
_FIRST_SHARE = 0.01
_MEMORY = 20.0  # seconds that the speed is averaged over, at least
_MEMORY_SHARE = 0.25  # of the time so far, if that is more


class Remaining:
    """The share of the whole that is done, which never falls, and from its recent speed the seconds left.

    >>> remaining = Remaining(now=0.0)
    >>> for second in range(1, 11):
    ...     remaining.reach(second / 100, now=second)
    >>> round(remaining.seconds(now=10.0)), round(remaining.seconds(now=12.0))
    (90, 88)
    """

    def __init__(self, now: float) -> None:
        self.share = 0.0
        self._start = self._last = now
        self._done = self._took = 0.0  # sums over what is recent, older steps count less

    def reach(self, share: float, now: float) -> None:
        """Note that so much of the whole is done; less than before counts as no news."""
        share = min(share, 1.0)
        if not share > self.share:
            return
        passed = now - self._last
        kept = math.exp(-passed / max(_MEMORY, _MEMORY_SHARE * (now - self._start)))
        self._done = self._done * kept + share - self.share
        self._took = self._took * kept + passed
        self.share, self._last = share, now

    def seconds(self, now: float) -> float | None:
        """How many are left; None while that is unknown, and where the last step takes longer than all that was left."""
        if self.share < _FIRST_SHARE or self.share >= 1.0 or now - self._start < _FIRST_SECONDS:
            return None
        left = (1.0 - self.share) * self._took / self._done - (now - self._last)
        return left if left > 0 else None


def in_words(seconds: float | None) -> str:
    """As much of it as is worth reading.

    >>> in_words(7.2), in_words(83), in_words(1290), in_words(7300), in_words(None)
    ('8 s left', '1 min 30 s left', '22 min left', '2 h 02 min left', '')
    """
    if seconds is None:
        return ""
    if seconds <= 59:
        return f"{math.ceil(seconds)} s left"
    if seconds < 600:
        minutes, tens = divmod(math.ceil(seconds / 10), 6)
        return f"{minutes} min {10 * tens} s left" if tens else f"{minutes} min left"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min left" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min left"
