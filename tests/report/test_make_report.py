"""Reports end to end: what is written, and what is refused."""

import json
import shlex
from dataclasses import fields

import pytest
from lines_task import Fragile

from weightzip.errors import OutputError, TaskError
from weightzip.progress import ProgressEvent
from weightzip.report import AUTO, PAPER, Point
from weightzip.report.make import _Again

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


def test_every_point_has_the_command_that_measures_it_again(report, checkpoint, task_name):
    for point in report.points:
        expected = ["weightzip", "report", str(checkpoint), "--task", task_name, "--seed", "0", "--only", point.title]
        # The paper's codec has other settings here than on the command line.
        assert shlex.split(point.command) == ([] if point.method == PAPER else expected)
    assert {stored.point for stored in report.files} <= set(report.points)


def test_what_trains_names_its_device_and_the_usual_settings_have_a_command():
    command = _Again("-m.pt", "zoo:mnist-rnn", 7, "cuda", usual=True).command(PAPER, "latent 64")
    expected = "weightzip report ./-m.pt --task zoo:mnist-rnn --seed 7 --device cuda --only 'weightzip paper, latent 64'"
    assert command == expected


def test_a_task_that_is_an_object_has_no_command(make, tmp_path):
    report = make(tmp_path / "out", Fragile(tolerated=1.0), only=["weightzip auto, step 0.25"])
    assert [(point.setting, point.command) for point in report.points] == [("step 0.25", "")]


def test_files_are_kept_where_that_is_asked_for(make, tmp_path):
    folder, only = tmp_path / "out", ["weightzip auto, step 0.25", "cast"]
    report = make(folder, only=only, keep=True)
    assert names(folder) == sorted([*FILES, "files"])
    assert names(folder / "files") == ["cast-bfloat16.wz", "cast-float16.wz", "weightzip-auto-step-0.25.wz"]
    sizes = sorted(path.stat().st_size for path in (folder / "files").iterdir())
    assert sizes == sorted(point.file_bytes for point in report.points)
    for name in FILES:
        (folder / name).unlink()
    with pytest.raises(OutputError, match="files: exists already"):
        make(folder, only=only, keep=True)
    (folder / "files" / "mine.txt").write_text("precious")
    (folder / "files" / "cast-float16.wz").write_text("old")
    make(folder, only=only, keep=True, force=True)
    assert sizes == sorted(path.stat().st_size for path in (folder / "files").glob("*.wz"))
    assert (folder / "files" / "mine.txt").read_text() == "precious"


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
