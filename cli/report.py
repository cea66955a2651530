"""weightzip report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.options import PATH, device_option, force_option, output_options, seed_option
from weightzip.cli.output import Output
from weightzip.cli.points import best_points, points_table
from weightzip.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.report import Report


@click.command()
@click.argument("model", type=PATH)
@click.option("--task", metavar="TASK", required=True, help="zoo:NAME or path/to/file.py:OBJECT.")
@click.option("-o", "--output", "folder", type=PATH, help="Where to write.  [default: MODEL-report, in this folder]")
@click.option(
    "--adapt",
    type=click.Choice(["none", "calibrate", "finetune"]),
    default="finetune",
    show_default=True,
    help="Show adaptations up to this one, as far as the task has data.",
)
@seed_option
@device_option
@force_option
@output_options
def report(out: Output, model: Path, task: str, folder: Path | None, adapt: str, seed: int, device: str, force: bool) -> None:
    """Compare all methods on a checkpoint and a task.

    Accuracy against size for weightzip and the baselines, each at a range of settings and as a real file. Writes
    report.html, curve.png and points.json. Takes a few minutes, and as many again for each adaptation that the task has
    data for.

    \b
    Example:
      weightzip report model.pt --task evaluate.py:task -o report
    """
    from weightzip.report import make_report

    target = folder if folder is not None else Path(f"{model.stem}-report")
    with progress_bar(out) as progress:
        made = make_report(model, task, target, seed=seed, device=device, force=force, adapt=adapt, progress=progress)
    out.result([point.to_json() for point in made.points], lambda: _tables(made))
    for reason in made.left_out:
        out.message(f"left out: {reason}")
    out.message(f"{made.directory}: report.html, curve.png and points.json, made in {made.seconds:.0f} s")


def _tables(made: Report) -> Iterator[Table]:
    """All points, then what matters most, where it is seen last."""
    from weightzip.results import by_method

    original = f"{made.metric.label}, originally {made.metric.format(made.original)}"
    yield points_table(f"{made.title}: {original}", by_method(made.points).values())
    allowed = made.metric.tolerance_words(made.original)
    yield points_table(
        f"The smallest file of each method that loses at most {allowed}", [best_points(made.points, made.tolerance)]
    )
