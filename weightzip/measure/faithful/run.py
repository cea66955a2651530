"""All parts of the benchmark, or some of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from weightzip.errors import UsageError
from weightzip.measure.faithful.anomaly import PART as ANOMALY
from weightzip.measure.faithful.anomaly import anomaly_rows
from weightzip.measure.faithful.autoencode import Trained, autoencoders
from weightzip.measure.faithful.denoise import PART as DENOISE
from weightzip.measure.faithful.denoise import denoise_rows
from weightzip.measure.faithful.generate import PART as GENERATE
from weightzip.measure.faithful.generate import generate_rows
from weightzip.measure.faithful.pixels import Splits
from weightzip.measure.faithful.rows import FamiliesBenchmark, Row
from weightzip.measure.faithful.semi import PART as SEMI
from weightzip.measure.faithful.semi import semi_rows
from weightzip.measure.faithful.settings import FULL, Settings
from weightzip.measure.faithful.squeeze import PART as SQUEEZE
from weightzip.measure.faithful.squeeze import squeeze_rows
from weightzip.measure.machine import this_machine
from weightzip.progress import Progress, silent
from weightzip.threads import limited_threads

PARTS = (SEMI, ANOMALY, DENOISE, GENERATE, SQUEEZE)


def measure_families(settings: Settings = FULL, parts: Sequence[str] = PARTS, progress: Progress = silent) -> FamiliesBenchmark:
    """Measure on one thread; raises UsageError for a part that there is not."""
    start = time.process_time()
    with limited_threads(1):
        rows = tuple(families_rows(settings, parts, progress))
    return FamiliesBenchmark(this_machine("cpu"), time.process_time() - start, rows)


def families_rows(settings: Settings, parts: Sequence[str], progress: Progress) -> Iterator[Row]:
    """The rows as they are found. Generation and size look at the same networks, which are trained once."""
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"{part!r}: no such part of the benchmark; use one of {', '.join(PARTS)}")
    splits = Splits.of(settings)
    trained: dict[str, Trained] | None = None
    for part in parts:
        if part == SEMI:
            yield from semi_rows(splits, settings, progress)
        elif part == ANOMALY:
            yield from anomaly_rows(splits, settings, progress)
        elif part == DENOISE:
            yield from denoise_rows(splits, settings, progress)
        else:
            trained = trained or autoencoders(splits, settings, progress)
            rows = generate_rows if part == GENERATE else squeeze_rows
            yield from rows(splits, settings, trained)
