"""Measuring one checkpoint on one task: every job, and the paper's findings."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from weightzip.checkpoint import Checkpoint
from weightzip.errors import TargetError, TaskError, UsageError
from weightzip.measure.bench import Bench, Measured, checkpoint_bytes
from weightzip.measure.jobs import Job, latent_jobs, main_jobs
from weightzip.measure.levels import Learner, level_jobs, usable_levels
from weightzip.measure.machine import this_machine
from weightzip.measure.meter import Meter
from weightzip.measure.study import PAPER_MODELS, latent_findings, linear_fit, timing_seconds, timing_settings, training_times
from weightzip.progress import Progress
from weightzip.results import AUTO, PAPER, Point, Results, StoredFile, Study, smallest_within
from weightzip.tasks import Task
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

_SMALL = 32 << 20  # bytes of tensors below which one thread is used: on a busy machine a second one loses much


def _none(_: float) -> float:
    """What may be lost where nobody says."""
    return 0.0


def compare(
    checkpoint: Checkpoint,
    task: Task,
    vae: VAESettings,
    device: str,
    progress: Progress,
    *,
    adapt: str = "none",
    tolerance: Callable[[float], float] = _none,
) -> Results:
    """Every method at its settings, each through a file on disk, and the paper's findings.

    vae: settings of the paper's codec; twice and half their number of latents are measured, too. device: where VAEs train.
    adapt: the strongest level of adaptation that is measured, as far as the task has data for it, at ratios in proportion to
    that of the smallest file without data that loses at most `tolerance(original metric)`.
    Settings that the task cannot evaluate are left out by name. Raises TaskError where it cannot evaluate the checkpoint.
    """
    with _bench(checkpoint, task) as bench:
        jobs = [*main_jobs(bench.num_weights, vae, device), *latent_jobs(bench.num_weights, vae, device)]
        timed = task.name in {f"zoo:{name}" for name in PAPER_MODELS}
        learner, levels = Learner(checkpoint, task, vae.seed, device), usable_levels(task, adapt)
        later = level_jobs(learner, levels, 1.0, bench.evaluation_seconds)  # as long as they will be at any ratio
        total = sum(_seconds(job, bench) for job in [*jobs, *later]) + (timing_seconds(vae) if timed else 0.0)
        meter = Meter(progress, total)
        times = training_times(vae, device, meter) if timed else ()
        measured, left_out = _measure(bench, jobs, meter)
        adapted, failed = _measure(
            bench, _level_jobs(learner, levels, measured, tolerance(bench.original), bench.evaluation_seconds), meter
        )
        measured, left_out = measured + adapted, left_out + failed
    findings = latent_findings([item for item in measured if item.point.method == PAPER])
    return Results(
        input_bytes=bench.input_bytes,
        num_weights=bench.num_weights,
        original=bench.original,
        files=tuple(StoredFile(item.point, item.section_bytes) for item in measured),
        study=Study(findings, times, linear_fit(times), timing_settings(vae)),
        left_out=left_out,
        machine=this_machine(device),
    )


def quick_curve(checkpoint: Checkpoint, task: Task, progress: Progress) -> list[Point]:
    """Every method but the paper's, which alone has to train. Raises TaskError where the task cannot evaluate a setting."""
    with _bench(checkpoint, task) as bench:
        jobs = [job for job in main_jobs(bench.num_weights, VAESettings(), "cpu") if job.method != PAPER]
        meter = Meter(progress, sum(_seconds(job, bench) for job in jobs))
        points = []
        for job in jobs:
            with meter.job(f"{job.method}, {job.setting}", _seconds(job, bench)) as inner:
                points.append(bench.measure(job, inner).point)
    return points


def _level_jobs(
    learner: Learner, levels: Sequence[str], measured: Sequence[Measured], tolerance: float, seconds: float
) -> list[Job]:
    """Jobs at ratios in proportion to that of the smallest file without data that loses little."""
    points = [item.point for item in measured if item.point.method == AUTO]
    best = smallest_within(points, tolerance) or max(points, key=lambda point: point.value, default=None)
    return level_jobs(learner, levels, best.ratio if best else 1.0, seconds)


@contextlib.contextmanager
def _bench(checkpoint: Checkpoint, task: Task) -> Iterator[Bench]:
    """A bench with a folder for its files, which is gone when the block ends."""
    threads = 1 if checkpoint_bytes(checkpoint) < _SMALL else None
    with limited_threads(threads), tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        yield Bench(checkpoint, task, Path(scratch))


def _measure(bench: Bench, jobs: Sequence[Job], meter: Meter) -> tuple[list[Measured], tuple[str, ...]]:
    """What the jobs give, and those that the task could not evaluate, with the reason."""
    measured: list[Measured] = []
    left_out: list[str] = []
    for number, job in enumerate(jobs, start=1):
        title = f"{job.method}, {job.setting} ({number} of {len(jobs)})"
        with meter.job(title, _seconds(job, bench)) as inner:
            try:
                measured.append(bench.measure(job, inner))
            except (TaskError, TargetError, UsageError) as error:  # a metric may be undefined for weights that far off
                left_out.append(f"{job.method}, {job.setting}: {error}")
    return measured, tuple(left_out)


def _seconds(job: Job, bench: Bench) -> float:
    return job.seconds + bench.evaluation_seconds
