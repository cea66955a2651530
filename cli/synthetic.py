"""`weightzip bench --synthetic`: its options, and how its figures are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.describe import new_table, times
from weightzip.cli.options import PATH, SEED, Command, parse_bytes
from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.measure.footprint import Footprint, Run

_DTYPES = ("float32", "bfloat16", "float16")  # as `weightzip.measure.synthetic` has them, which would import torch
_OPTIONS = (
    click.option(
        "--synthetic", metavar="SIZE", callback=parse_bytes, help="Memory of whole runs on a made-up checkpoint, e.g. 4GB."
    ),
    click.option("--largest", metavar="SIZE", callback=parse_bytes, help="Its largest tensor.  [default: a sixteenth]"),
    click.option("--dtype", type=click.Choice(_DTYPES), default="float32", show_default=True, help="Of its weights."),
    click.option("--seed", metavar="N", type=SEED, default=0, show_default=True, help="Of all that is drawn at random."),
    click.option("--folder", metavar="FOLDER", type=PATH, help="Where to write it.  [default: where temporary files go]"),
)


def synthetic_options(command: Command) -> Command:
    """What a made-up checkpoint is like; a command gets them by these names."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def measure_synthetic(
    out: Output,
    threads: int,
    *,
    synthetic: int,
    largest: int | None,
    dtype: str,
    seed: int,
    lossless: bool,
    folder: Path | None,
) -> None:
    """Measure, and answer. Raises a WeightzipError."""
    from weightzip.measure.footprint import measure_footprint
    from weightzip.measure.synthetic import SyntheticModel

    model = SyntheticModel(synthetic, largest, dtype, seed)
    with progress_bar(out) as progress:
        found = measure_footprint(model, folder, lossless=lossless, threads=threads, progress=progress)
    out.result(found.to_json(), lambda: _report(found))


def _report(found: Footprint) -> Iterator[str | Table]:
    given = f"{found.tensors:,} tensors of {found.model.dtype}, {found.input_bytes:,} bytes; {_threads(found.threads)}"
    figures = ("seconds", "MB/s", "ratio", "peak\nMB", "beyond\nimports", "% of\nbound")
    table = new_table("command", *figures, title=f"synthetic: {given}")
    for run in found.runs:
        table.add_row(*_cells(found, run))
    yield table
    largest = found.largest_float32_bytes / 1e6
    yield f"  bound: 6 x {largest:,.1f} MB (the largest tensor as float32) + 500 MB = {found.bound_mb:,.1f} MB"
    if found.imports_mb is not None:
        yield f"  imports alone: {found.imports_mb:,.1f} MB"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _cells(found: Footprint, run: Run) -> Iterator[str]:
    yield run.command
    yield f"{run.seconds:,.1f}"
    yield f"{run.mb_s:,.1f}"
    yield times(found.input_bytes / run.file_bytes)
    for figure in (run.peak_mb, run.beyond_imports_mb):
        yield "-" if figure is None else f"{figure:,.1f}"
    yield "-" if run.peak_mb is None else f"{100 * run.peak_mb / found.bound_mb:.0f}"
