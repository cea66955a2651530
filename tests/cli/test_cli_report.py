import functools
import json

from weightzip import report
from weightzip.vae import VAESettings


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
