"""Where a report goes: a folder, and three files in it or none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from weightzip.errors import OutputError
from weightzip.files import atomic_path, check_output
from weightzip.report.page import render
from weightzip.report.plot import plot_points
from weightzip.report.result import CURVE, PAGE, POINTS, Report


@contextlib.contextmanager
def output_folder(folder: Path, source: Path, *, force: bool) -> Iterator[None]:
    """The folder, made if need be, and removed again if the block fails.

    Raises OutputError where it cannot be made, or holds files of a report (unless `force`).
    """
    made = not folder.exists()
    if not made and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder with -o")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}; name another folder with -o") from error
    try:
        for name in (PAGE, CURVE, POINTS):
            check_output(folder / name, source=source, force=force)
        yield
    except BaseException:  # an interruption, too, leaves nothing behind
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write(report: Report) -> None:
    """Write the page, the curve and the points; all under temporary names until all are whole."""
    points = [point.to_json() for point in report.points]
    with contextlib.ExitStack() as files:
        page, curve, data = (files.enter_context(atomic_path(report.directory / name)) for name in (PAGE, CURVE, POINTS))
        page.write_text(render(report), encoding="utf-8")
        plot_points(report.points, curve, report.title, metric=report.metric.label)
        data.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
