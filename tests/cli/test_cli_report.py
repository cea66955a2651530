import functools
import json

import pytest

from weightzip import report
from weightzip.measure import families
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
        (["--families", "--ratio", "0"], "--ratio must be at least 1"),
    ],
)
def test_what_does_not_go_together(run, model, task, options, message):
    result = run("report", model, "--task", task, *options)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
