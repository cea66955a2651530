"""weightzip report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.completing import complete_checkpoint, complete_task
from weightzip.cli.describe import WHOLE_FILE, new_table, times
from weightzip.cli.options import PATH, device_option, force_option, output_options, seed_option
from weightzip.cli.output import Output
from weightzip.cli.points import best_points, points_table
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand
from weightzip.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.metric import Metric
    from weightzip.report import FamilyReport, Report
    from weightzip.results import FamilyRow

_LONGEST_NAME = 80  # characters of a folder that nobody named


@click.command(cls=SectionedCommand)
@click.argument("model", type=PATH, shell_complete=complete_checkpoint)
@click.option("--task", metavar="TASK", required=True, shell_complete=complete_task, help="zoo:NAME or path/to/file.py:OBJECT.")
@click.option("-o", "--output", "folder", type=PATH, help="Where to write.  [default: MODEL-report, in this folder]")
@click.option(
    "--adapt",
    type=click.Choice(["none", "calibrate", "finetune"]),
    help="Show adaptations up to this one, as far as the task has data.  [default: finetune]",
)
@click.option(
    "--only",
    metavar="'METHOD[, SETTING]'",
    multiple=True,
    help="Measure nothing else, as the report names it; may be repeated. The paper's study is left out but for its METHOD.",
)
@click.option("--keep", is_flag=True, help="Keep the .wz file of every point in the report's folder, each fit for restore.")
@click.option("--families", is_flag=True, help="Compare the families of autoencoders instead, at equal bytes.")
@click.option("--ratio", type=float, metavar="R", help="With --families: of all files.  [default: 10]")
@seed_option
@device_option
@force_option
@output_options
def report(
    out: Output,
    model: Path,
    task: str,
    folder: Path | None,
    adapt: str | None,
    only: tuple[str, ...],
    keep: bool,
    families: bool,
    ratio: float | None,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Compare all methods on a checkpoint and a task.

    Accuracy against size for weightzip and the baselines, each at a range of settings and as a real file. Writes
    report.html, curve.png and points.json. Takes a few minutes, and as many again for each adaptation that the task has
    data for. With --families: every family of autoencoders in files of the same size, as families.png and families.json.

    \b
    Examples:
      weightzip report model.pt --task evaluate.py:task -o report
      weightzip report model.pt --task my.py:task --only 'weightzip auto' --keep
      weightzip report model.pt --task evaluate.py:task --families --ratio 8
    """
    target = folder if folder is not None else _default_folder(model, only)
    if families:
        if adapt is not None:
            raise UsageError("--adapt and --families are reports of their own; ask for one after the other")
        if only or keep:
            raise UsageError("--only and --keep are for reports of points; ask for them without --families")
        _report_families(out, model, task, target, 10.0 if ratio is None else ratio, seed, device, force)
        return
    if ratio is not None:
        raise UsageError("--ratio is for --families; other reports show every ratio")
    from weightzip.report import make_report

    with progress_bar(out) as progress:
        made = make_report(
            model,
            task,
            target,
            seed=seed,
            device=device,
            force=force,
            adapt=adapt or "finetune",
            only=only,
            keep=keep,
            progress=progress,
        )
    out.result([point.to_json() for point in made.points], lambda: _tables(made))
    for reason in made.left_out:
        out.message(f"left out: {reason}")
    files = f"report.html, curve.png and points.json{f', {len(made.points)} .wz files in files' if keep else ''}"
    out.message(f"{made.directory}: {files}, made in {made.seconds:.0f} s")


def _default_folder(model: Path, only: tuple[str, ...]) -> Path:
    """In this folder; a part of a report goes beside the whole."""
    from weightzip.results import slug

    return Path("-".join([f"{model.stem}-report", *map(slug, only)])[:_LONGEST_NAME])


def _report_families(
    out: Output, model: Path, task: str, target: Path, ratio: float, seed: int, device: str, force: bool
) -> None:
    from weightzip.report import make_family_report

    with progress_bar(out) as progress:
        made = make_family_report(model, task, target, ratio=ratio, seed=seed, device=device, force=force, progress=progress)
    out.result([row.to_json() for row in made.rows], lambda: [_family_table(made)])
    out.message(f"{made.directory}: families.png and families.json, made in {made.seconds:.0f} s")


def _family_table(made: FamilyReport) -> Table:
    original = f"{made.metric.label}, originally {made.metric.format(made.rows[0].original)}"
    title = f"{made.title}: {original}; files of at most {made.file_bytes:,} bytes"
    sizes = ("bytes", WHOLE_FILE, "decoder", "latents", "residuals")
    table = new_table(
        "family", *sizes, "metric", "drop", "relative\nmse", "denoising\ndB", "training\ns", "encode\ns", title=title
    )
    for row in made.rows:
        table.add_row(*_family_cells(row, made.metric))
    return table


def _family_cells(row: FamilyRow, metric: Metric) -> Iterator[str]:
    yield row.family
    yield "too large" if row.file_bytes is None else f"{row.file_bytes:,}"
    yield "-" if row.ratio is None else times(row.ratio)
    for size in (row.decoder_bytes, row.latent_bytes, row.residual_bytes):
        yield f"{size:,}"
    yield "-" if row.value is None else metric.format(row.value).removesuffix("%")
    yield "-" if row.value is None else metric.format_change(row.original - row.value)
    yield "-" if row.relative_mse is None else f"{row.relative_mse:.4f}"
    yield "-" if row.denoising_gain_db is None else f"{row.denoising_gain_db:+.1f}"
    yield f"{row.training_seconds:.1f}"
    yield "-" if row.encode_seconds is None else f"{row.encode_seconds:.1f}"


def _tables(made: Report) -> Iterator[Table]:
    """All points, then what matters most, where it is seen last."""
    from weightzip.results import by_method

    original = f"{made.metric.label}, originally {made.metric.format(made.original)}"
    yield points_table(f"{made.title}: {original}", by_method(made.points).values(), made.metric)
    allowed = made.metric.tolerance_words(made.original)
    yield points_table(
        f"The smallest file of each method that loses at most {allowed}",
        [best_points(made.points, made.tolerance)],
        made.metric,
    )
