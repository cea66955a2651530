"""Where a report goes: a folder, and three files in it or none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from weightzip.errors import OutputError
from weightzip.files import check_output
from weightzip.interface import JSON
from weightzip.report.page import render
from weightzip.report.plot import plot_points
from weightzip.report.result import CURVE, PAGE, POINTS, Report


def check_folder(folder: Path, source: Path, names: Sequence[str], *, force: bool) -> None:
    """Raise OutputError for a folder that cannot be one, or that holds files of these names (unless `force`)."""
    try:
        if folder.is_dir():
            for name in names:
                check_output(folder / name, sources=[source], force=force)
        elif folder.exists():
            raise OutputError(f"{folder}: is a file; name a folder with -o")
        else:
            check_output(folder)
    except OSError as error:  # a name too long
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}; name another folder with -o") from error


def write(report: Report, folder: Path) -> None:
    """Write the page, the curve and the points."""
    with telling_space(report.directory):
        # A file's name may hold bytes that are no text; a page must not fail for them.
        (folder / PAGE).write_text(render(report), encoding="utf-8", errors="replace")
        plot_points(report.points, folder / CURVE, report.title, metric=report.metric.label)
        write_json([point.to_json() for point in report.points], folder / POINTS)


def write_json(rows: list[dict[str, JSON]], path: Path) -> None:
    """Write rows as a JSON list."""
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def telling_space(folder: Path) -> Iterator[None]:
    """Say in which folder something could not be written within the block."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}; free some space") from error
