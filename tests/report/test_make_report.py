"""Reports end to end: what is written, and what is refused."""

import json
from dataclasses import fields

import pytest
from lines_task import Fragile

from weightzip.errors import OutputError, TaskError
from weightzip.progress import ProgressEvent
from weightzip.report import AUTO, PAPER, Point

FILES = ["curve.png", "points.json", "report.html"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_points_file_has_the_fields_of_the_interface(report):
    points = json.loads((report.directory / "points.json").read_text())
    assert points == [point.to_json() for point in report.points]
    assert list(points[0]) == [field.name for field in fields(Point)]
    assert list(points[0])[:6] == ["method", "setting", "file_bytes", "ratio", "value", "original"]


def test_bytes_are_told_of_the_best_auto_file_and_of_the_papers(report):
    assert [stored.point.method for stored in report.files] == [AUTO, PAPER]
    best, paper = (stored.point for stored in report.files)
    good = [point for point in report.points if point.method == AUTO and point.original - point.value <= 1.0]
    assert best.file_bytes == min(point.file_bytes for point in good)
    assert paper.setting == "latent 4"


def test_existing_report_is_refused_and_replaced_by_force(make, tmp_path):
    folder = tmp_path / "out"
    first = make(folder)
    curve = (folder / "curve.png").read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        make(folder)
    (folder / "points.json").write_text("old")
    second = make(folder, force=True)
    timeless = [[(p.method, p.setting, p.file_bytes, p.value) for p in report.points] for report in (first, second)]
    assert timeless[0] == timeless[1]
    assert (folder / "curve.png").read_bytes() == curve
    assert names(folder) == FILES


def test_other_files_in_the_folder_stay(make, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    make(tmp_path)
    assert names(tmp_path) == sorted([*FILES, "thesis.tex"])
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_folder_in_place_of_a_file_is_refused(make, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "out")


def test_missing_parent_folder_is_refused(make, tmp_path):
    with pytest.raises(OutputError, match="no such folder"):
        make(tmp_path / "nowhere" / "out")


def test_a_name_that_cannot_be_is_refused(make, tmp_path):
    with pytest.raises(OutputError, match="cannot be"):
        make(tmp_path / ("x" * 5000))


def test_a_task_that_fails_leaves_nothing_behind(make, tmp_path):
    with pytest.raises(TaskError):
        make(tmp_path / "out", Fragile(tolerated=-1.0))
    assert names(tmp_path) == []


@pytest.mark.parametrize("there", [False, True])
def test_interruption_leaves_nothing_behind(make, tmp_path, there):
    seen: list[str] = []

    def interrupt(event: ProgressEvent) -> None:
        seen.extend(names(folder if there else tmp_path))
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    if there:
        folder.mkdir()
        (folder / "points.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        make(folder, force=there, progress=interrupt)
    assert any(name.startswith(".weightzip-") for name in seen)
    assert names(tmp_path) == (["out"] if there else [])
    assert not there or (names(folder), (folder / "points.json").read_text()) == (["points.json"], "old")


def test_what_was_left_out_is_told(make, tmp_path):
    report = make(tmp_path / "out", Fragile(tolerated=1e-3))
    assert report.left_out
    assert "Left out" in (tmp_path / "out" / "report.html").read_text()
