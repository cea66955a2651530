import functools
import json
import shlex

import pytest
import torch

from weightzip import report
from weightzip.cli.points import points_table
from weightzip.measure import families
from weightzip.metric import Metric
from weightzip.results import Point
from weightzip.vae import VAESettings
from weightzip.vae.families.heteroskedastic import HeteroskedasticVAE


def test_report(run, model, task, folder, monkeypatch):
    hardly_trained = VAESettings(epochs=2, copies=2, validation_copies=1)
    monkeypatch.setattr(report, "make_report", functools.partial(report.make_report, vae=hardly_trained))
    result = run("report", model, "--task", task, "-o", "out", "--json")
    assert result.code == 0
    points = result.json
    assert points == json.loads((folder / "out" / "points.json").read_text())
    assert {"method", "setting", "file_bytes", "ratio", "value", "original"} <= set(points[0])
    assert {"curve.png", "report.html"} <= {path.name for path in (folder / "out").iterdir()}
    assert "report.html" in result.err


def test_the_command_of_a_point_gives_that_point_again(run, model, task, folder):
    only = ["--only", "uniform (per channel)", "--only", "weightzip auto, step 0.25", "--only", "weightzip lossless"]
    points = run("report", model, "--task", task, "--seed", 3, *only, "--json").json
    assert len(points) == 8
    assert (folder / "model-report-uniform-per-channel-weightzip-auto-step-0.25-weightzip-lossless").is_dir()
    for point in (points[0], points[1], points[-1]):
        program, *arguments = shlex.split(point["command"])
        assert program == "weightzip"
        (again,) = run(*arguments, "--json").json
        assert {**again, "seconds": 0} == {**point, "seconds": 0}


def test_kept_files_can_be_restored_whatever_the_method(run, model, task, folder, state):
    methods = [
        "weightzip auto, step 0.25",
        "weightzip lossless",
        "zstd, level 3",
        "cast, float16",
        "uniform (per tensor), 4 bit",
    ]
    methods += ["magnitude pruning (per layer), sparsity 0.5", "k-means codebook, 3 bit"]
    methods += ["Deep Compression, sparsity 0.5, 3 bit", "low-rank SVD, rank fraction 0.5"]
    only = [argument for method in methods for argument in ("--only", method)]
    result = run("report", model, "--task", task, *only, "--keep", "-o", "out")
    assert result.code == 0
    assert "9 .wz files in files" in result.err
    files = sorted((folder / "out" / "files").iterdir())
    assert len(files) == 9
    for file in files:
        assert run("restore", file, "-o", "back.pt", "-f", "-q").code == 0
        assert torch.load("back.pt").keys() == state.keys()
        info = run("info", file, "--json").json
        stored = sum(tensor["stored_bytes"] for tensor in info["tensor_list"])
        assert stored + info["shared_bytes"] == pytest.approx(file.stat().st_size)


def test_figures_of_any_metric_are_told_with_enough_digits():
    def told(metric, value, original):
        points = [Point("a", "b", 100, 2.0, value, original, None, 0.0, 1.0)]
        table = points_table("title", [points], Metric(metric))
        return [next(iter(column.cells)) for column in table.columns][-2:]

    assert told("accuracy, %", 97.9, 98.38) == ["97.90", "+0.48"]
    assert told("F1", 0.9123, 0.9187) == ["0.9123", "+0.0064"]


def test_names_of_nothing_are_refused_with_those_that_there_are(run, model, task, listing):
    before = listing()
    result = run("report", model, "--task", task, "--only", "weightzip auto, step 3")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(
        "error: --only 'weightzip auto, step 3': there is no such setting; there are 'weightzip auto, "
    )
    assert listing() == before


def test_an_existing_report_is_kept(run, model, task, folder):
    (folder / "model-report").mkdir()
    (folder / "model-report" / "report.html").write_text("precious")
    result = run("report", model, "--task", task)
    assert (result.code, result.out) == (1, "")
    assert (folder / "model-report" / "report.html").read_text() == "precious"


@pytest.fixture
def one_family(monkeypatch):
    """Only one of them, hardly trained."""
    monkeypatch.setattr(families, "FAMILIES", ("heteroskedastic",))
    monkeypatch.setattr(HeteroskedasticVAE, "defaults", {**HeteroskedasticVAE.defaults, "epochs": 1, "copies": 1, "hidden": 8})


@pytest.mark.usefixtures("one_family")
def test_report_families(run, model, task, folder):
    result = run("report", model, "--task", task, "--families", "--ratio", "2", "-o", "out", "--json")
    assert result.code == 0
    assert [row["family"] for row in result.json] == ["weightzip auto", "heteroskedastic"]
    assert result.json == json.loads((folder / "out" / "families.json").read_text())
    assert "families.png" in result.err
    table = run("report", model, "--task", task, "--families", "--ratio", "2", "-o", "out", "-f")
    assert "heteroskedastic" in table.out
    assert "denoising" in table.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ratio", "3"], "--ratio is for --families"),
        (["--families", "--adapt", "none"], "--adapt and --families are reports of their own"),
        (["--families", "--only", "zstd"], "--only and --keep are for reports of points"),
        (["--families", "--keep"], "--only and --keep are for reports of points"),
        (["--families", "--ratio", "0"], "--ratio must be at least 1"),
    ],
)
def test_what_does_not_go_together(run, model, task, options, message):
    result = run("report", model, "--task", task, *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
