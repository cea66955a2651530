"""How well scans find faults, measured: what `weightzip bench --scan` answers."""

from __future__ import annotations

from pathlib import Path

from weightzip.cli.output import Output
from weightzip.cli.progress import progress_bar


def bench_scan(out: Output, checkpoints: tuple[Path, ...], *, seed: int, threads: int) -> None:
    """Measure on at least two checkpoints, and answer with Markdown tables, or with JSON. Raises a WeightzipError."""
    from weightzip.measure.scanning import measure_scan, scan_tables

    with progress_bar(out) as progress:
        found = measure_scan(checkpoints, seed=seed, threads=threads, progress=progress)
    out.result(found.to_json(), lambda: scan_tables(found).splitlines())
    out.message(f"measured in {found.seconds:.0f} s")
