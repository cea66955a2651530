"""Measuring what is not measured yet, one item at a time."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

from weightzip.errors import OutputError, WeightzipError
from weightzip.files import atomic_path
from weightzip.measure.machine import library_versions, machine_kind
from weightzip.measure.suite.page import page
from weightzip.measure.suite.plan import Item, plan
from weightzip.measure.suite.results import PAGE, RESULTS, Record, Store, SuiteResults, make_folder, plain, write_json
from weightzip.measure.suite.settings import SuiteSettings
from weightzip.measure.suite.subjects import installed, named
from weightzip.progress import MEASURING, Meter, Progress, silent

_FILES = "files"


def run_suite(settings: SuiteSettings, folder: Path, progress: Progress = silent, *, force: bool = False) -> SuiteResults:
    """Measure, and write results.json and results.md into `folder`, after each item.

    What is there already, measured with the same settings, program and machine, is taken as it is, unless `force`.
    An item that fails is left out by name, and tried again by the next run. Raises UsageError for a model that the zoo does not
    have and for two checkpoints of one name, CheckpointError for one that cannot be read, OutputError where the folder cannot
    be written.
    """
    found, missing = installed()
    real = [*found, *named(settings.checkpoints)]
    items = plan(settings, real, folder / _FILES)
    store = Store(folder)
    make_folder(folder / _FILES)
    for begun in (folder / _FILES).glob("*.run") if force else ():
        begun.unlink()
    known = {} if force else {item.name: record for item in items if (record := store.load(item.name, item.identity))}
    todo = [item for item in items if item.name not in known]
    meter = Meter(progress, sum(item.seconds for item in todo) or 1.0, MEASURING)
    failed: dict[str, str] = {}
    absent = (*settings.environment.missing, *missing)
    for number, item in enumerate(todo, start=1):
        with meter.job(f"{item.name} ({number} of {len(todo)})", item.seconds) as inner:
            try:
                known[item.name] = _measure(item, inner)
            except OutputError:  # no space: nothing else would do better
                raise
            except WeightzipError as error:
                failed[item.name] = str(error)
                continue
            store.save(item.name, known[item.name])
        _write(_results(settings, items, known, failed, absent), folder)
    results = _results(settings, items, known, failed, absent)
    _write(results, folder)
    return results


def _measure(item: Item, progress: Progress) -> Record:
    start = time.monotonic()
    found = plain(item.measure(progress=progress))
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Record(item.kind, item.subject, item.how, item.identity, date, time.monotonic() - start, found)


def _results(
    settings: SuiteSettings, items: list[Item], known: dict[str, Record], failed: dict[str, str], absent: tuple[str, ...]
) -> SuiteResults:
    records = tuple(known[item.name] for item in items if item.name in known)
    versions = library_versions() | settings.environment.versions
    return SuiteResults(settings.command, machine_kind(), versions, records, failed, absent)


def _write(results: SuiteResults, folder: Path) -> None:
    write_json(folder / RESULTS, results.to_json())
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page(results), encoding="utf-8")
