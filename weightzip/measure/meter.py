"""One progress bar over jobs of very different length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from weightzip.progress import Progress, ProgressEvent

_UNITS = 1000  # the bar's total
_STOPS_EARLY = "training the VAE"
USUAL_EPOCHS = 100  # after which a training has mostly stopped by itself


class Meter:
    """Tells how much of the whole is done, in thousandths, so that a bar's time left makes sense.

    total: roughly how many seconds all jobs take; only the proportions matter.
    """

    def __init__(self, progress: Progress, total: float) -> None:
        self._progress, self._total = progress, total
        self._spent = 0.0

    @contextlib.contextmanager
    def job(self, title: str, cost: float) -> Iterator[Progress]:
        """A job of roughly `cost` seconds; its own progress goes to the callback and is folded into the whole's."""

        def inner(event: ProgressEvent) -> None:
            # The training of a VAE may take all of its epochs, but usually stops long before.
            total = min(event.total, USUAL_EPOCHS) if event.stage == _STOPS_EARLY else event.total
            share = min(1.0, event.done / max(1, total))
            self._report(share * cost, f"{title}: {event.detail}" if event.detail else title)

        self._report(0.0, title)
        yield inner
        self._spent += cost
        self._report(0.0, title)

    def _report(self, beyond: float, detail: str) -> None:
        done = min(_UNITS, round(_UNITS * (self._spent + beyond) / self._total))
        self._progress(ProgressEvent("measuring", done, _UNITS, detail))
