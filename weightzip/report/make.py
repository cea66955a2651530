"""Making a report: read, have everything measured, write."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.codec import Target, keep_structured
from weightzip.devices import resolve_device
from weightzip.files import check_output
from weightzip.folders import staged_folder
from weightzip.measure import compare
from weightzip.metric import Metric
from weightzip.progress import Progress, silent
from weightzip.report.output import check_folder, write
from weightzip.report.result import FILES, KEPT, Report
from weightzip.results import CALIBRATED, FINETUNED, PAPER, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED, titled
from weightzip.tasks import Task, load_task
from weightzip.vae import VAESettings

_TRAINED = (CALIBRATED, FINETUNED, PAPER, PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED)  # whose results the device may change


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
    only: Sequence[str] = (),
    keep: bool = False,
    progress: Progress = silent,
) -> Report:
    """Compare every method on one checkpoint and task, and write report.html, curve.png and points.json to `directory`.

    directory: made if it is not there; files of an earlier report in it are refused without `force`.
    vae: settings of the paper's codec; `seed` overrides theirs. Twice and half their number of latents are measured, too.
    adapt: the strongest level of adaptation that is shown, as far as the task has data for it.
    only: methods, or single settings as "METHOD, SETTING" (`Point.title`); by default all. What the paper found is repeated
    only where all of its method is asked for. keep: whether the .wz file of each point stays, in `directory`/files.
    Raises a WeightzipError; nothing is written unless everything succeeded.
    """
    start = time.monotonic()
    source, folder = Path(model), Path(directory)
    settings, place = replace(vae or VAESettings(), seed=seed), resolve_device(device)
    job = load_task(task) if isinstance(task, str) else task
    found = checkpoints.read(source)
    checkpoint = keep_structured(found, Target().exact_bits(found))  # for all methods, as it is when compressing
    check_folder(folder, source, FILES, force=force)
    if keep and folder.is_dir():
        check_output(folder / KEPT, folder=True, force=force)
    again = _Again(str(model), task, seed, place, usual=settings == replace(VAESettings(), seed=seed))
    with staged_folder(folder) as staging:
        kept = _new_folder(staging / KEPT) if keep else None
        results = compare(
            checkpoint,
            job,
            settings,
            place,
            progress,
            adapt=adapt,
            tolerance=Metric(job.metric).tolerance,
            only=only,
            keep=kept,
            command=again.command,
        )
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


def _new_folder(path: Path) -> Path:
    path.mkdir()
    return path


@dataclass(frozen=True)
class _Again:
    """What a report was asked for, as far as single points depend on it.

    model, task: as they were given. usual: whether the settings of the paper's codec are those of the command line.
    """

    model: str
    task: str | Task
    seed: int
    device: str
    usual: bool

    def command(self, method: str, setting: str) -> str:
        """The command line that measures a point again; "" where there is none."""
        if not isinstance(self.task, str) or (method == PAPER and not self.usual):
            return ""
        trained = ("--device", self.device) if method in _TRAINED else ()
        model = self.model if not self.model.startswith("-") else f"./{self.model}"
        options = ("--task", self.task, "--seed", str(self.seed), *trained, "--only", titled(method, setting))
        return shlex.join(["weightzip", "report", model, *options])
