"""Measuring one checkpoint on one task: every job, and the paper's findings."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightzip.checkpoint import Checkpoint
from weightzip.errors import TargetError, TaskError, UsageError
from weightzip.measure.bench import Bench, Measured, checkpoint_bytes, no_command
from weightzip.measure.jobs import Job, latent_jobs, main_jobs
from weightzip.measure.levels import ADAPTED, Learner, level_jobs, named_jobs, usable_levels
from weightzip.measure.machine import this_machine
from weightzip.measure.selection import Selection
from weightzip.measure.study import PAPER_MODELS, latent_findings, linear_fit, timing_seconds, timing_settings, training_times
from weightzip.progress import MEASURING, Meter, Progress
from weightzip.results import AUTO, PAPER, Point, Results, StoredFile, Study, TrainingTime, smallest_within
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
    only: Sequence[str] = (),
    keep: Path | None = None,
    command: Callable[[str, str], str] = no_command,
) -> Results:
    """Every method at its settings, each through a file on disk, and the paper's findings.

    vae: settings of the paper's codec; twice and half their number of latents are measured, too. device: where VAEs train.
    adapt: the strongest level of adaptation that is measured, as far as the task has data for it, at ratios in proportion to
    that of the smallest file without data that loses at most `tolerance(original metric)`.
    only: methods, or single settings as "METHOD, SETTING"; by default all. keep: a folder where the files stay.
    command: the command line that measures a method at a setting again.
    Settings that the task cannot evaluate are left out by name. Raises TaskError where it cannot evaluate the checkpoint,
    UsageError for names of nothing, and TargetError where nothing that was named could be measured.
    """
    learner = Learner(checkpoint, task, vae.seed, device)
    wanted = _Wanted(Selection(tuple(only)), learner, usable_levels(task, adapt), vae)
    wanted.check()
    with _bench(checkpoint, task, command) as bench:
        measured, left_out, times = _measure_all(bench, wanted, tolerance(bench.original), progress, keep)
    if only and not measured:
        raise TargetError(f"nothing could be measured: {'; '.join(left_out)}")
    findings = latent_findings([item for item in measured if item.point.method == PAPER])
    return Results(
        input_bytes=bench.input_bytes,
        num_weights=bench.num_weights,
        original=bench.original,
        files=tuple(StoredFile(item.point, item.section_bytes, item.tensors) for item in measured),
        study=Study(findings, times, linear_fit(times), timing_settings(vae)),
        left_out=left_out,
        machine=this_machine(device),
    )


@dataclass(frozen=True)
class _Wanted:
    """The jobs of a comparison that were asked for, on what they need to be known."""

    selection: Selection
    learner: Learner
    levels: tuple[str, ...]
    vae: VAESettings

    def check(self) -> None:
        """Raise UsageError where something is named that there is not."""
        names = self.selection.names
        self.selection.check([*self._main(0), *level_jobs(self.learner, self.levels, 1.0, 0.0), *self._named(names, 0.0)])

    @property
    def times(self) -> bool:
        """Whether the VAE's training is timed: for the paper's own models."""
        names = {f"zoo:{name}" for name in PAPER_MODELS}
        return self.selection.has_all_of(PAPER) and self.learner.task.name in names

    def without_data(self, bench: Bench) -> list[Job]:
        """Of all methods that need no data."""
        return self.selection.of(self._main(bench.num_weights))

    def guides(self, bench: Bench) -> list[Job]:
        """What tells the ratios of adaptations, where these are not named."""
        found = self.levels and any(map(self.selection.has_all_of, ADAPTED))
        return [job for job in self._main(bench.num_weights) if job.method == AUTO] if found else []

    def with_data(self, bench: Bench, best_ratio: float) -> list[Job]:
        """The levels of adaptation; best_ratio: of the best file without data."""
        seconds = bench.evaluation_seconds
        usual = level_jobs(self.learner, self.levels, best_ratio, seconds)
        return self.selection.of([*usual, *self._named(self.selection.names, seconds)])

    def _main(self, num_weights: int) -> list[Job]:
        device = self.learner.device
        return [*main_jobs(num_weights, self.vae, device), *latent_jobs(num_weights, self.vae, device)]

    def _named(self, names: Sequence[str], seconds: float) -> list[Job]:
        return named_jobs(self.learner, self.levels, names, seconds)


def _measure_all(
    bench: Bench, wanted: _Wanted, tolerance: float, progress: Progress, keep: Path | None
) -> tuple[list[Measured], tuple[str, ...], tuple[TrainingTime, ...]]:
    """What is measured, what could not be, with the reason, and the times of the paper's study."""
    jobs, vae = wanted.without_data(bench), wanted.vae
    guides = [job for job in wanted.guides(bench) if job not in jobs]
    later = wanted.with_data(bench, 1.0)  # as long as they will be at any ratio
    total = sum(_seconds(job, bench) for job in [*jobs, *guides, *later]) + (timing_seconds(vae) if wanted.times else 0.0)
    meter = Meter(progress, total, MEASURING)
    times = training_times(vae, wanted.learner.device, meter) if wanted.times else ()
    measured, left_out = _measure(bench, jobs, meter, keep)
    seen, _ = _measure(bench, guides, meter)  # of no point, so none of their files is kept
    adapted, failed = _measure(bench, wanted.with_data(bench, _best_ratio([*measured, *seen], tolerance)), meter, keep)
    return measured + adapted, left_out + failed, times


def quick_curve(checkpoint: Checkpoint, task: Task, progress: Progress) -> list[Point]:
    """Every method but the paper's, which alone has to train. Raises TaskError where the task cannot evaluate a setting."""
    with _bench(checkpoint, task) as bench:
        jobs = [job for job in main_jobs(bench.num_weights, VAESettings(), "cpu") if job.method != PAPER]
        meter = Meter(progress, sum(_seconds(job, bench) for job in jobs), MEASURING)
        points = []
        for job in jobs:
            with meter.job(job.title, _seconds(job, bench)) as inner:
                points.append(bench.measure(job, inner).point)
    return points


def _best_ratio(measured: Sequence[Measured], tolerance: float) -> float:
    """Of the smallest file without data that loses little."""
    points = [item.point for item in measured if item.point.method == AUTO]
    best = smallest_within(points, tolerance) or max(points, key=lambda point: point.value, default=None)
    return best.ratio if best else 1.0


@contextlib.contextmanager
def _bench(checkpoint: Checkpoint, task: Task, command: Callable[[str, str], str] = no_command) -> Iterator[Bench]:
    """A bench with a folder for its files, which is gone when the block ends."""
    threads = 1 if checkpoint_bytes(checkpoint) < _SMALL else None
    with limited_threads(threads), tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        yield Bench(checkpoint, task, Path(scratch), command=command)


def _measure(
    bench: Bench, jobs: Sequence[Job], meter: Meter, keep: Path | None = None
) -> tuple[list[Measured], tuple[str, ...]]:
    """What the jobs give, and those that the task could not evaluate, with the reason."""
    measured: list[Measured] = []
    left_out: list[str] = []
    for number, job in enumerate(jobs, start=1):
        title = f"{job.title} ({number} of {len(jobs)})"
        with meter.job(title, _seconds(job, bench)) as inner:
            try:
                measured.append(bench.measure(job, inner, keep))
            except (TaskError, TargetError, UsageError) as error:  # a metric may be undefined for weights that far off
                left_out.append(f"{job.title}: {error}")
    return measured, tuple(left_out)


def _seconds(job: Job, bench: Bench) -> float:
    return job.seconds + bench.evaluation_seconds
