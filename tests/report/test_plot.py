"""Figures: they are drawn for any points, always the same, and show what they should."""

import warnings
from dataclasses import replace

import matplotlib.image
import pytest

from weightzip.errors import UsageError
from weightzip.metric import Metric
from weightzip.report import AUTO, PAPER, Point, plot_points
from weightzip.report.plot import draw_curve, draw_points
from weightzip.report.study_plots import draw_losses, draw_times
from weightzip.report.style import LIGHT
from weightzip.results import LatentFinding, LinearFit, TrainingTime
from weightzip.vae import EpochLosses

ACCURACY = Metric("top-1 accuracy, %")


def point(method: str, ratio: float, value: float, latent_ratio: float | None = None) -> Point:
    return Point(method, "a setting", round(1e6 / ratio), ratio, value, 98.0, latent_ratio, 0.01, 1.0)


POINTS = [point(AUTO, 10, 97.9), point(AUTO, 40, 20.0), point(PAPER, 8, 97.5, 32.0), point("cast", 2, 98.0)]


def test_png_is_drawn_and_reproducible(tmp_path):
    first, second = tmp_path / "first.png", tmp_path / "second"
    plot_points(POINTS, first, "a title", metric="accuracy, %")
    plot_points(POINTS, second, "a title", metric="accuracy, %")
    assert first.read_bytes() == second.read_bytes()
    image = matplotlib.image.imread(first)  # [height, width, RGBA]
    assert image.shape[0] > 800
    assert image.shape[1] > 1200
    assert image.std() > 0.05


def test_latents_only_point_is_hollow_at_its_own_ratio():
    (axes,) = draw_points(POINTS, "", ACCURACY, LIGHT).axes
    (hollow,) = [line for line in axes.lines if line.get_marker() == "s" and line.get_markerfacecolor() == LIGHT.background]
    assert (list(hollow.get_xdata()), list(hollow.get_ydata())) == ([32.0], [97.5])
    joints = [line for line in axes.lines if line.get_linestyle() == ":" and line.get_marker() == "None"]
    assert [list(line.get_xdata()) for line in joints] == [[8, 32.0]]


def test_collapsed_points_do_not_squeeze_the_rest():
    (axes,) = draw_points(POINTS, "", ACCURACY, LIGHT).axes
    bottom, top = axes.get_ylim()
    assert 94 < bottom < 97
    assert 98 < top < 99.5
    assert any("far below" in text.get_text() for text in axes.texts)


def test_axes_fit_points_that_all_collapsed():
    (axes,) = draw_points([point(AUTO, 30, 10.0)], "", ACCURACY, LIGHT).axes
    assert axes.get_ylim()[0] < 10


@pytest.mark.parametrize("metric", ["R2", "negative perplexity", "top-1 accuracy, %"])
@pytest.mark.parametrize("original", [0.0, -23.4, 0.91, 98.0])
def test_any_metric_can_be_drawn(metric, original, tmp_path):
    points = [replace(item, original=original, value=original - 0.001) for item in POINTS]
    plot_points(points, tmp_path / "curve.png", "a title", metric=metric)


def test_hostile_words_are_drawn_as_they_are(tmp_path):
    points = [replace(item, setting="$\\frac{$ <b>", method=f"{item.method} $\\x$") for item in POINTS]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_points(points, tmp_path / "curve.png", "$\\nothing$ 模型 \udc80", metric="$\\sqrt$, %")


def test_no_points_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no point"):
        plot_points([], tmp_path / "curve.png", "a title")


def test_the_line_and_every_model_are_drawn():
    times = [TrainingTime(f"model {weights}", weights, 0.5 + 2e-6 * weights) for weights in (1000, 50_000, 200_000)]
    (axes,) = draw_times(times, LinearFit(0.5, 2e-6, 1.0), LIGHT).axes
    assert [text.get_text() for text in axes.texts] == ["model 1000", "model 50000", "model 200000"]
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (0.0, 0.5)


def test_every_point_within_the_picture_can_be_found():
    (axes,) = draw_curve(POINTS, ACCURACY, LIGHT, 4.0, 4.0).axes
    found = {line.get_gid(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_gid()}
    assert {gid: place for gid, place in found.items() if gid.startswith("point")} == {
        "point-0": (10, 97.9),
        "point-2": (8, 97.5),
        "point-3": (2, 98.0),
    }
    assert found["latents-2"] == (32.0, 97.5)
    assert {"line-0", "line-1", "line-2"} <= set(found)


def test_a_point_just_below_the_picture_is_not_left_beside_it():
    """What is too low to count for the axes may lie far to the right of them, where nobody sees it."""
    points = [point(AUTO, 60, 95.1), point(AUTO, 200, 94.9), point(PAPER, 8, 94.9, 2000.0)]
    (axes,) = draw_points(points, "", ACCURACY, LIGHT).axes
    gids = {line.get_gid() for line in axes.lines}
    assert "point-0" in gids
    assert not {"point-1", "point-2", "latents-2", "joint-2"} & gids
    assert not any("latents only" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize(
    ("width", "ticks"), [(9.0, [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300]), (3.9, [1, 3, 10, 30, 100, 300])]
)
def test_a_narrow_picture_has_fewer_ticks(width, ticks):
    points = [point(AUTO, 1.1, 98.0), point(AUTO, 300, 97.5)]
    (axes,) = draw_curve(points, ACCURACY, LIGHT, width, 4.0).axes
    assert axes.get_xticks().tolist() == ticks


def test_the_epoch_that_is_kept_is_marked():
    history = tuple(EpochLosses(epoch, 10.0 - epoch, loss) for epoch, loss in enumerate((9.0, 4.0, 5.0), start=1))
    findings = [LatentFinding(64, 8, POINTS[2], history, None), LatentFinding(32, 8, POINTS[2], (), None)]
    (axes,) = draw_losses(findings, LIGHT).axes
    (marked,) = [line for line in axes.lines if line.get_gid()]
    assert (marked.get_gid(), list(marked.get_xdata()), list(marked.get_ydata())) == ("best-0", [2], [4.0])
