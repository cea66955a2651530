"""Progress bars, on terminals only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightzip.cli.output import Output, printable
from weightzip.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from tqdm import tqdm

_FORMAT = "{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
_DELAY = 0.2  # seconds; what is done sooner needs no bar


@contextlib.contextmanager
def progress_bar(out: Output) -> Iterator[Progress]:
    """A callback that draws one bar with the time left and the event's detail; it is gone when the block ends."""
    if not out.shows_progress:
        yield silent
        return
    from tqdm import tqdm

    with tqdm(bar_format=_FORMAT, leave=False, dynamic_ncols=True, delay=_DELAY) as bar:
        yield _Bar(bar)


class _Bar:
    """Shows one stage after the other on the same line."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._stage = bar, ""

    def __call__(self, event: ProgressEvent) -> None:
        """Show the event."""
        if event.stage != self._stage:
            self._stage = event.stage
            self._bar.set_description_str(event.stage, refresh=False)
            self._bar.reset(total=event.total)
        self._bar.set_postfix_str(printable(event.detail), refresh=False)
        self._bar.update(event.done - self._bar.n)
