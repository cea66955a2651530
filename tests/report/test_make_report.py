"""Reports end to end: what is measured, what is written, and what is refused."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file

from weightzip import checkpoint as checkpoints
from weightzip.baselines import sweep
from weightzip.codec import AutoCodec, encode
from weightzip.errors import OutputError, TaskError
from weightzip.progress import ProgressEvent
from weightzip.report import AUTO, LOSSLESS, PAPER, Point


def test_every_method_has_its_points(report):
    settings = {(point.method, point.setting) for point in report.points}
    assert {(method, setting) for method, setting, _ in sweep()} <= settings
    assert {(PAPER, "latent 8"), (PAPER, "latent 4"), (PAPER, "latent 2"), (LOSSLESS, "exact")} <= settings
    assert len([method for method, _ in settings if method == AUTO]) >= 10
    assert len(settings) == len(report.points)
    assert not report.left_out


def test_points_file_has_the_fields_of_the_interface(report):
    points = json.loads((report.directory / "points.json").read_text())
    assert points == [point.to_json() for point in report.points]
    assert list(points[0]) == [field.name for field in fields(Point)]
    assert list(points[0])[:6] == ["method", "setting", "file_bytes", "ratio", "value", "original"]


def test_sizes_are_those_of_real_files(report, checkpoint, tmp_path):
    input_bytes = sum(tensor.numel() * 4 for tensor in load_file(checkpoint).values())
    for point in report.points:
        assert point.ratio == pytest.approx(input_bytes / point.file_bytes)
    auto = next(point for point in report.points if point.setting == "step 0.5")
    path = tmp_path / "auto.wz"
    path.write_bytes(encode(checkpoints.read(checkpoint), AutoCodec(0.5)).pack())
    assert auto.file_bytes == path.stat().st_size


def test_only_the_paper_codec_has_a_latents_only_ratio(report):
    for point in report.points:
        assert (point.latent_ratio is not None) == (point.method == PAPER)
    weights = 12 * 16 + 12 + 4 * 12 + 4
    four = next(point for point in report.points if point.setting == "latent 4")
    assert four.latent_ratio == pytest.approx(weights / (4 * -(-weights // 64)))


def test_lossless_points_lose_nothing(report):
    lossless = [point for point in report.points if point.method in (LOSSLESS, "zstd")]
    assert {(point.value, point.relative_mse) for point in lossless} == {(report.original, 0.0)}
    assert report.original > 90


def test_bytes_of_the_auto_and_the_paper_file_are_accounted_for(report):
    assert [stored.point.method for stored in report.files] == [AUTO, PAPER]
    for stored in report.files:
        assert sum(stored.section_bytes.values()) == stored.point.file_bytes
    assert set(report.files[1].section_bytes) == {"header", "latents", "decoder"}


def test_study_follows_the_losses_of_each_number_of_latents(report):
    assert [finding.latent for finding in report.study.latents] == [8, 4, 2]
    for finding in report.study.latents:
        assert [losses.epoch for losses in finding.history] == [1, 2, 3]
    assert (report.study.times, report.study.fit) == ((), None)  # not one of the paper's four models


def test_progress_runs_once_from_nothing_to_all(make, tmp_path):
    events: list[ProgressEvent] = []
    make(tmp_path / "out", progress=events.append)
    done = [event.done for event in events]
    assert {(event.stage, event.total) for event in events} == {("report", 1000)}
    assert (done[0], done[-1]) == (0, 1000)
    assert done == sorted(done)
    assert any("nats per chunk" in event.detail for event in events)


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
    assert sorted(path.name for path in folder.iterdir()) == ["curve.png", "points.json", "report.html"]


def test_folder_in_place_of_a_file_is_refused(make, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "out")


def test_missing_parent_folder_is_refused(make, tmp_path):
    with pytest.raises(OutputError, match="cannot be made"):
        make(tmp_path / "nowhere" / "out")


def test_failure_leaves_no_folder_behind(make, tmp_path):
    with pytest.raises(TaskError):
        make(tmp_path / "out", Fragile(tolerated=-1.0))
    assert not (tmp_path / "out").exists()


def test_interruption_leaves_no_folder_behind(make, tmp_path):
    def interrupt(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_weights_that_the_task_cannot_evaluate_are_left_out_by_name(make, tmp_path):
    report = make(tmp_path / "out", Fragile(tolerated=1e-3))
    assert any(line.startswith("uniform (per tensor), 2 bit: ") for line in report.left_out)
    assert "Left out" in (tmp_path / "out" / "report.html").read_text()
    assert all(point.value == -1.5 for point in report.points)


class Fragile:
    """A task with a metric of its own kind, undefined for weights that are off by more than `tolerated`."""

    name, metric = "fragile", "negative perplexity"

    def __init__(self, tolerated: float) -> None:
        self._tolerated = tolerated
        self._first: torch.Tensor | None = None

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))

    def evaluate(self, model: torch.nn.Module) -> float:
        weight = model[0].weight
        self._first = weight.clone() if self._first is None else self._first
        return -1.5 if float((weight - self._first).abs().max()) <= self._tolerated else float("nan")
