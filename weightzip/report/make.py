"""Making a report: measure every job, repeat the paper's findings, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.devices import resolve_device
from weightzip.errors import TaskError
from weightzip.progress import Progress, silent
from weightzip.report.bench import Bench, Measured, checkpoint_bytes
from weightzip.report.jobs import Job, latent_jobs, main_jobs
from weightzip.report.meter import Meter
from weightzip.report.metric import Metric
from weightzip.report.output import output_folder, write
from weightzip.report.points import AUTO, PAPER, smallest_within
from weightzip.report.result import Report, StoredFile
from weightzip.report.study import (
    PAPER_MODELS,
    Study,
    latent_findings,
    linear_fit,
    timing_seconds,
    timing_settings,
    training_times,
)
from weightzip.tasks import Task, load_task
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

_SMALL = 32 << 20  # bytes of tensors below which a second thread gains little, and loses much on a busy machine


def make_report(
    model: str | Path,
    task: str | Task,
    directory: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    vae: VAESettings | None = None,
    progress: Progress = silent,
) -> Report:
    """Compare every method on one checkpoint and task, and write report.html, curve.png and points.json to `directory`.

    directory: made if it is not there; files of an earlier report in it are refused without `force`.
    vae: settings of the paper's codec; `seed` overrides theirs. Twice and half their number of latents are measured, too.
    Raises a WeightzipError; nothing is written unless everything succeeded.
    """
    start = time.monotonic()
    source, folder = Path(model), Path(directory)
    settings, place = replace(vae or VAESettings(), seed=seed), resolve_device(device)
    job = load_task(task) if isinstance(task, str) else task
    checkpoint = checkpoints.read(source)
    with output_folder(folder, source, force=force), tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        with limited_threads(1 if checkpoint_bytes(checkpoint) < _SMALL else None):
            bench = Bench(checkpoint, job, Path(scratch))
            measured, study, left_out = _measure(bench, job, settings, place, progress)
        report = Report(
            directory=folder,
            model=source.name,
            task=job.name,
            metric=Metric(job.metric),
            input_bytes=bench.input_bytes,
            num_weights=bench.num_weights,
            original=bench.original,
            points=tuple(measurement.point for measurement in measured),
            files=_files(measured, Metric(job.metric).tolerance(bench.original)),
            study=study,
            left_out=left_out,
            seed=seed,
            device=place,
            seconds=time.monotonic() - start,
        )
        write(report)
    return report


def _measure(
    bench: Bench, job: Task, settings: VAESettings, device: str, progress: Progress
) -> tuple[list[Measured], Study, tuple[str, ...]]:
    """All points; the study; and what the task could not evaluate."""
    jobs = [*main_jobs(bench.num_weights, settings, device), *latent_jobs(bench.num_weights, settings, device)]
    timed = job.name in {f"zoo:{name}" for name in PAPER_MODELS}
    total = sum(_seconds(item, bench) for item in jobs) + (timing_seconds(settings) if timed else 0.0)
    meter = Meter(progress, total)
    times = training_times(settings, device, meter) if timed else ()
    measured, left_out = _measure_all(bench, jobs, meter)
    findings = latent_findings([item for item in measured if item.point.method == PAPER])
    study = Study(findings, times, linear_fit(times), timing_settings(settings))
    return measured, study, left_out


def _measure_all(bench: Bench, jobs: Sequence[Job], meter: Meter) -> tuple[list[Measured], tuple[str, ...]]:
    measured: list[Measured] = []
    left_out: list[str] = []
    for number, job in enumerate(jobs, start=1):
        title = f"{job.method}, {job.setting} ({number} of {len(jobs)})"
        with meter.job(title, _seconds(job, bench)) as inner:
            try:
                measured.append(bench.measure(job, inner))
            except TaskError as error:  # a metric may be undefined for weights that far off
                left_out.append(f"{job.method}, {job.setting}: {error}")
    return measured, tuple(left_out)


def _seconds(job: Job, bench: Bench) -> float:
    return job.seconds + bench.evaluation_seconds


def _files(measured: Sequence[Measured], tolerance: float) -> tuple[StoredFile, ...]:
    """The default codec's smallest good file (its best one, if none is good), and the paper's at its own setting."""
    auto = [item.point for item in measured if item.point.method == AUTO]
    best = smallest_within(auto, tolerance) or max(auto, key=lambda point: point.value, default=None)
    paper = next((item.point for item in measured if item.point.method == PAPER), None)
    return tuple(StoredFile(item.point, item.section_bytes) for item in measured if item.point in (best, paper))
