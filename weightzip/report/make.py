"""Making a report: read, have everything measured, write."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.codec import Target, keep_structured
from weightzip.devices import resolve_device
from weightzip.folders import staged_folder
from weightzip.measure import compare
from weightzip.progress import Progress, silent
from weightzip.report.metric import Metric
from weightzip.report.output import check_folder, write
from weightzip.report.result import FILES, Report
from weightzip.tasks import Task, load_task
from weightzip.vae import VAESettings


def make_report(
    model: str | Path,
    task: str | Task,
    directory: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    vae: VAESettings | None = None,
    adapt: str = "finetune",
    progress: Progress = silent,
) -> Report:
    """Compare every method on one checkpoint and task, and write report.html, curve.png and points.json to `directory`.

    directory: made if it is not there; files of an earlier report in it are refused without `force`.
    vae: settings of the paper's codec; `seed` overrides theirs. Twice and half their number of latents are measured, too.
    adapt: the strongest level of adaptation that is shown, as far as the task has data for it.
    Raises a WeightzipError; nothing is written unless everything succeeded.
    """
    start = time.monotonic()
    source, folder = Path(model), Path(directory)
    settings, place = replace(vae or VAESettings(), seed=seed), resolve_device(device)
    job = load_task(task) if isinstance(task, str) else task
    found = checkpoints.read(source)
    checkpoint = keep_structured(found, Target().exact_bits(found))  # for all methods, as it is when compressing
    check_folder(folder, source, FILES, force=force)
    with staged_folder(folder) as staging:
        results = compare(checkpoint, job, settings, place, progress, adapt=adapt, tolerance=Metric(job.metric).tolerance)
        report = Report(
            directory=folder,
            model=source.name,
            task=job.name,
            metric=Metric(job.metric),
            results=results,
            seed=seed,
            device=place,
            seconds=time.monotonic() - start,
        )
        write(report, staging)
    return report
