"""weightzip bench --families: whether the families of VAEs behave as their sources published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from weightzip.cli.describe import new_table
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.measure.faithful import FamiliesBenchmark


def bench_families(out: Output, *, seed: int, quick: bool, output: Path | None) -> None:
    """Measure all parts and tell the rows; with `output`, also write them there as a table in Markdown.

    quick: a tiny configuration, whose figures mean nothing. Raises UsageError without the extra `bench`, OutputError where
    the output exists or cannot be written.
    """
    from weightzip.errors import OutputError
    from weightzip.files import atomic_path

    if output is not None and output.exists():
        raise OutputError(f"{output}: exists already; name another file with --table")
    found, table = _measure(out, seed, quick=quick)
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(table + "\n", encoding="utf-8")
    out.result(found.to_json(), lambda: _tables(found))


def _measure(out: Output, seed: int, *, quick: bool) -> tuple[FamiliesBenchmark, str]:
    from weightzip.errors import UsageError

    try:
        from weightzip.measure.faithful import FULL, QUICK, markdown, measure_families
        from weightzip.measure.faithful.settings import reseeded
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("skimage", "sklearn"):
            raise
        raise UsageError(
            "--families needs scikit-learn and scikit-image; install them with `pip install weightzip[bench]`"
        ) from error
    with progress_bar(out) as progress:
        found = measure_families(reseeded(QUICK if quick else FULL, seed), progress=progress)
    return found, markdown(found.rows)


def _tables(found: FamiliesBenchmark) -> Iterator[Table]:
    """One for each part."""
    from weightzip.measure.faithful.table import COLUMNS, cells

    for part in dict.fromkeys(row.experiment for row in found.rows):
        table = new_table(*COLUMNS[1:], texts=2, title=part)
        for row in found.rows:
            if row.experiment == part:
                table.add_row(*cells(row)[1:])
        yield table
