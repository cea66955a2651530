"""weightzip demo: the main job on the zoo's models, from checkpoint to file and back, against the baselines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightzip.cli.describe import LATENTS_ONLY, WHOLE_FILE
from weightzip.cli.options import destination_option, force_option, output_options
from weightzip.cli.output import Output
from weightzip.cli.points import best_points, points_table
from weightzip.cli.progress import progress_bar
from weightzip.cli.sections import SectionedCommand
from weightzip.errors import OutputError
from weightzip.folders import staged_folder
from weightzip.progress import Meter, Progress

if TYPE_CHECKING:
    from rich.table import Table

    from weightzip.results import Point

_MODEL = "mnist-fnn"
_FOLDER = Path("weightzip-demo")
_PICTURE = "curve.png"
_MARKER = "made-by-weightzip-demo.txt"
_TOLERANCE = 1.0  # what the baselines may lose in the table


@dataclass(frozen=True)
class _Findings:
    """own: one model's files, restored by processes of their own. curve: all methods on it. zoo: the other models."""

    metric: str
    own: Sequence[Point]
    curve: Sequence[Point]
    zoo: Sequence[Point]


@click.command(cls=SectionedCommand)
@destination_option("The folder to write to.  [default: weightzip-demo]")
@force_option
@output_options
def demo(out: Output, destination: Path | None, force: bool) -> None:
    """Show the main job on the zoo's models.

    Compresses a network at the default quality, at most one point of accuracy worse, and as the paper does; restores
    each file in a process of its own; measures what came back; and compares with what people use today. Under two
    minutes on two cores. Files and a picture stay in the folder, which may be an earlier demo's.

    \b
    Example:
      weightzip demo -o my-demo
    """
    folder = destination if destination is not None else _FOLDER
    start = time.monotonic()
    _check(folder, force=force)
    with staged_folder(folder) as staging, progress_bar(out) as progress:
        found = _find(staging, out, progress)
    data = {
        "folder": str(folder),
        "picture": str(folder / _PICTURE),
        "points": [point.to_json() for point in (*found.own, *found.curve)],
        "zoo": [point.to_json() for point in found.zoo],
        "seconds": time.monotonic() - start,
    }
    out.result(data, lambda: _tables(found))
    out.message(f"picture: {folder / _PICTURE}; all files are in {folder}; done in {time.monotonic() - start:.0f} s")


def _check(folder: Path, *, force: bool) -> None:
    """Raise OutputError where the folder cannot be one, or holds files and is not an earlier demo's, unless `force`."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder}: is a file; name a folder with -o")
        if not force and not (folder / _MARKER).exists() and any(folder.iterdir()):
            raise OutputError(f"{folder}: holds other files; name another folder with -o, or use -f")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used: {error.strerror}; name another folder with -o") from error


def _find(folder: Path, out: Output, progress: Progress) -> _Findings:
    from weightzip.cli import demo_steps as steps
    from weightzip.report import plot_points
    from weightzip.tasks import load_task
    from weightzip.zoo import names

    (folder / _MARKER).write_text("`weightzip demo` made this folder, and overwrites its files when it runs again.\n")
    metric = load_task(f"zoo:{_MODEL}").metric
    original = steps.copy_checkpoint(_MODEL, folder)
    own = []
    meter = Meter(progress, sum(each.seconds for each in steps.VARIANTS) + steps.CURVE_SECONDS + steps.OTHERS_SECONDS)
    for variant in steps.VARIANTS:
        out.message(f"{_MODEL}: {variant.method}, {variant.setting}; restored in a process of its own")
        with meter.job(variant.setting, variant.seconds) as inner:
            own.append(steps.there_and_back(original, variant, inner))
    out.message(f"{_MODEL}: the default codec and the baselines over their ranges of settings")
    with meter.job("measuring", steps.CURVE_SECONDS) as inner:
        curve = steps.curve(original, inner)
    plot_points([*own, *curve], folder / _PICTURE, f"{_MODEL}: accuracy against size", metric=metric)
    out.message("the zoo's other models at the default quality")
    with meter.job("compressing", steps.OTHERS_SECONDS) as inner:
        others = steps.default_quality([name for name in names() if name != _MODEL], folder, inner)
    return _Findings(metric, own, curve, others)


def _tables(found: _Findings) -> Iterator[str | Table]:
    from weightzip.metric import Metric

    metric, original, methods = Metric(found.metric), found.own[0].original, {point.method for point in found.own}
    others = best_points([point for point in found.curve if point.method not in methods], _TOLERANCE)
    rule = "below the rule: of each other method the smallest file at most a point worse"
    title = f"{_MODEL}: {found.metric}, originally {original:.2f}; {rule}"
    yield points_table(title, [found.own, others], metric)
    yield points_table(f"The other models at the default quality: {found.metric}", [found.zoo], metric, first="model")
    yield f"{WHOLE_FILE}: bytes of the model's tensors / bytes of the file, which holds all that restoring takes."
    yield f"{LATENTS_ONLY}: counts 64 numbers per 2,048 weights, and not the decoder they are useless without."
