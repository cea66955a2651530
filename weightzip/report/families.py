"""The report of the VAE families: what each makes of one checkpoint at equal bytes, as a table, a picture and JSON."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.codec import Target, keep_structured
from weightzip.devices import resolve_device
from weightzip.errors import UsageError
from weightzip.folders import staged_folder
from weightzip.measure.bench import Bench
from weightzip.measure.families import compare_families
from weightzip.metric import Metric
from weightzip.progress import Progress, silent
from weightzip.report.family_plot import draw_families
from weightzip.report.output import check_folder, telling_space, write_json
from weightzip.report.style import LIGHT, save_png
from weightzip.results import FamilyRow
from weightzip.tasks import Task, load_task

TABLE, PICTURE = "families.json", "families.png"


@dataclass(frozen=True)
class FamilyReport:
    """rows: the default codec's, then every family's. file_bytes: what no file is larger than. seconds: of the report."""

    directory: Path
    title: str
    metric: Metric
    rows: tuple[FamilyRow, ...]
    file_bytes: int
    seconds: float


def make_family_report(
    model: str | Path,
    task: str | Task,
    directory: str | Path,
    *,
    ratio: float = 10.0,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    progress: Progress = silent,
) -> FamilyReport:
    """Train every family on a checkpoint, and write families.json and families.png to `directory`.

    ratio: all files are as near as can be to input / ratio bytes, and no larger. directory: made if it is not there; files of
    an earlier report in it are refused without `force`. Raises a WeightzipError; nothing is written unless everything
    succeeded.
    """
    start = time.monotonic()
    if not ratio >= 1:
        raise UsageError(f"--ratio must be at least 1, not {ratio:g}")
    source, folder = Path(model), Path(directory)
    place, job = resolve_device(device), load_task(task) if isinstance(task, str) else task
    found = checkpoints.read(source)
    checkpoint = keep_structured(found, Target().exact_bits(found))
    check_folder(folder, source, (TABLE, PICTURE), force=force)
    with staged_folder(folder) as staging, tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        bench = Bench(checkpoint, job, Path(scratch))
        limit = int(bench.input_bytes / ratio)
        rows = tuple(compare_families(checkpoint, bench, limit, seed=seed, device=place, progress=progress))
        title, metric = f"{source.name} on {job.name}", Metric(job.metric)
        report = FamilyReport(folder, title, metric, rows, limit, time.monotonic() - start)
        with telling_space(folder):
            save_png(draw_families(rows, title, metric, LIGHT), staging / PICTURE)
            write_json([row.to_json() for row in rows], staging / TABLE)
    return report
