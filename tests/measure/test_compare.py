"""What is measured, and that sizes are those of real files."""

import os
import re

import pytest
import torch
from lines_task import VAE, Fragile
from safetensors.torch import load_file

import weightzip
from weightzip.baselines import sweep
from weightzip.checkpoint import from_object
from weightzip.codec import AutoCodec, encode
from weightzip.errors import TargetError, TaskError, UsageError
from weightzip.measure import compare, quick_curve
from weightzip.progress import ProgressEvent, silent
from weightzip.results import AUTO, LOSSLESS, OWN, PAPER, slug


@pytest.fixture(scope="session")
def points(results):
    return [stored.point for stored in results.files]


def test_every_method_has_its_points(results, points):
    settings = {(point.method, point.setting) for point in points}
    assert {(method, setting) for method, setting, _ in sweep()} <= settings
    assert {(PAPER, "latent 8"), (PAPER, "latent 4"), (PAPER, "latent 2"), (LOSSLESS, "exact")} <= settings
    assert len([method for method, _ in settings if method == AUTO]) >= 10
    assert len(settings) == len(points)
    assert not results.left_out


def test_sizes_are_those_of_real_files(points, checkpoint, source, tmp_path):
    input_bytes = sum(tensor.numel() * 4 for tensor in load_file(source).values())
    for point in points:
        assert point.ratio == pytest.approx(input_bytes / point.file_bytes)
    auto = next(point for point in points if point.setting == "step 0.45")
    path = tmp_path / "auto.wz"
    path.write_bytes(encode(checkpoint, AutoCodec(0.45)).pack())
    assert auto.file_bytes == path.stat().st_size


def test_every_byte_of_every_file_is_accounted_for(results):
    for stored in results.files:
        assert sum(stored.section_bytes.values()) == stored.point.file_bytes
        if stored.point.method == PAPER:
            assert set(stored.section_bytes) == {"header", "latents", "decoder"}


def test_tensors_are_told_of_weightzips_own_files(results, checkpoint):
    for stored in results.files:
        if stored.point.method not in OWN:
            assert stored.tensors == ()
            continue
        assert [share.name for share in stored.tensors] == list(checkpoint.tensors)
        assert 0 < sum(share.stored_bytes for share in stored.tensors) < stored.point.file_bytes
        assert all(sum(share.histogram.after) == share.num_elements for share in stored.tensors)
        if stored.point.method == LOSSLESS:
            assert all(share.histogram.after == share.histogram.before for share in stored.tensors)


def test_only_the_paper_codec_has_a_latents_only_ratio(points):
    for point in points:
        assert (point.latent_ratio is not None) == (point.method == PAPER)
    weights = 12 * 16 + 12 + 4 * 12 + 4
    four = next(point for point in points if point.setting == "latent 4")
    assert four.latent_ratio == pytest.approx(weights / (4 * -(-weights // 64)))


def test_lossless_points_lose_nothing(results, points):
    lossless = [point for point in points if point.method in (LOSSLESS, "zstd")]
    assert {(point.value, point.relative_mse) for point in lossless} == {(results.original, 0.0)}
    assert results.original > 90


def test_study_follows_the_losses_of_each_number_of_latents(results):
    assert [finding.latent for finding in results.study.latents] == [8, 4, 2]
    for finding in results.study.latents:
        assert [losses.epoch for losses in finding.history] == [1, 2, 3]
    assert (results.study.times, results.study.fit) == ((), None)  # not one of the paper's four models


def test_the_machine_is_told(results):
    assert results.machine.versions["weightzip"] == weightzip.__version__
    assert {"Python", "torch", "numpy", "numba", "constriction", "zstandard"} <= set(results.machine.versions)
    assert f"{os.cpu_count()} core" in results.machine.kind


def test_progress_runs_once_from_nothing_to_all(checkpoint, task):
    events: list[ProgressEvent] = []
    compare(checkpoint, task, VAE, "cpu", events.append)
    done = [event.done for event in events]
    assert {(event.stage, event.total) for event in events} == {("measuring", 1000)}
    assert (done[0], done[-1]) == (0, 1000)
    assert done == sorted(done)
    assert any("nats per chunk" in event.detail for event in events)


def test_weights_that_the_task_cannot_evaluate_are_left_out_by_name(checkpoint):
    results = compare(checkpoint, Fragile(tolerated=1e-3), VAE, "cpu", silent)
    assert any(line.startswith("uniform (per tensor), 2 bit: ") for line in results.left_out)
    assert {stored.point.value for stored in results.files} == {-1.5}


def test_a_checkpoint_that_the_task_cannot_evaluate_is_refused(checkpoint):
    with pytest.raises(TaskError):
        compare(checkpoint, Fragile(tolerated=-1.0), VAE, "cpu", silent)


def test_only_what_is_named_is_measured_and_gives_the_same(checkpoint, task, points, tmp_path):
    names = ["zstd", "weightzip auto, step 0.45", "Deep Compression, sparsity 0.5, 3 bit", "weightzip paper, latent 8"]
    found = compare(checkpoint, task, VAE, "cpu", silent, only=names, keep=tmp_path)
    some = [stored.point for stored in found.files]
    wanted = [point for point in points if point.method == "zstd" or point.title in names]
    assert len(wanted) == 7
    assert {(p.title, p.file_bytes, p.value) for p in some} == {(p.title, p.file_bytes, p.value) for p in wanted}
    assert [finding.latent for finding in found.study.latents] == [8]
    for point in some:
        path = tmp_path / f"{slug(point.title)}.wz"
        assert path.stat().st_size == point.file_bytes
        assert list(weightzip.restore(path)) == list(checkpoint.tensors)
    assert len(list(tmp_path.iterdir())) == len(some)


def test_tensors_without_values_are_measured_with_the_others(tmp_path):
    class Empty:
        name, metric = "empty", "the mean"

        def model(self):
            module = torch.nn.Module()
            module.register_buffer("some", torch.zeros(20, 30))
            module.register_buffer("none", torch.zeros(0, 3))
            return module

        def evaluate(self, model):
            return float(model.some.mean())

    model = from_object({"some": torch.ones(20, 30), "none": torch.zeros(0, 3)})
    names = ["weightzip auto, step 0.25", "weightzip paper, latent 4", "weightzip lossless", "cast"]
    found = compare(model, Empty(), VAE, "cpu", silent, only=names)
    assert (len(found.files), found.left_out) == (5, ())
    assert all(stored.point.value == pytest.approx(1.0, abs=0.3) for stored in found.files)


def test_no_two_points_have_one_file(points):
    assert len({slug(point.title) for point in points}) == len(points)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("weightzip", "no such method here; there are 'weightzip auto', 'weightzip paper'"),
        ("low-rank SVD, rank 3", "no such setting; there are 'low-rank SVD, rank fraction 0.75'"),
        ("weightzip auto, step 7", "'weightzip auto, step 0.9' and 3 more"),
        ("weightzip calibrate, 20x", "no such method here"),  # as this task has no data
    ],
)
def test_names_of_nothing_are_refused_and_those_of_something_told(checkpoint, task, name, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        compare(checkpoint, task, VAE, "cpu", silent, adapt="finetune", only=["zstd", name])


def test_where_nothing_that_was_named_can_be_measured_that_is_an_error(checkpoint):
    with pytest.raises(TargetError, match="nothing could be measured: uniform"):
        compare(checkpoint, Fragile(tolerated=1e-3), VAE, "cpu", silent, only=["uniform (per tensor), 2 bit"])


def test_the_quick_curve_is_the_comparison_without_the_paper(checkpoint, task, points):
    quick = quick_curve(checkpoint, task, silent)
    kept = [point for point in points if point.method != PAPER]
    assert [(p.method, p.setting, p.file_bytes, p.value) for p in quick] == [
        (p.method, p.setting, p.file_bytes, p.value) for p in kept
    ]
