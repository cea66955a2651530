"""Where a report goes: a folder, and three files in it or none."""

from __future__ import annotations

import json
from pathlib import Path

from weightzip.errors import OutputError
from weightzip.files import check_output
from weightzip.report.page import render
from weightzip.report.plot import plot_points
from weightzip.report.result import CURVE, PAGE, POINTS, Report


def check_folder(folder: Path, source: Path, *, force: bool) -> None:
    """Raise OutputError for a folder that cannot be one, or that holds files of a report (unless `force`)."""
    try:
        if folder.is_dir():
            for name in (PAGE, CURVE, POINTS):
                check_output(folder / name, sources=[source], force=force)
        elif folder.exists():
            raise OutputError(f"{folder}: is a file; name a folder with -o")
        else:
            check_output(folder)
    except OSError as error:  # a name too long
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}; name another folder with -o") from error


def write(report: Report, folder: Path) -> None:
    """Write the page, the curve and the points."""
    points = [point.to_json() for point in report.points]
    try:
        (folder / PAGE).write_text(render(report), encoding="utf-8")
        plot_points(report.points, folder / CURVE, report.title, metric=report.metric.label)
        (folder / POINTS).write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{report.directory}: cannot be written: {reason}; free some space") from error
