"""The report of the VAE families: equal bytes, what is in the rows, and what is written."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from weightzip.errors import OutputError, TargetError, UsageError
from weightzip.measure import families
from weightzip.metric import Metric
from weightzip.report import FamilyReport, make_family_report
from weightzip.report.family_plot import draw_families
from weightzip.report.style import DARK
from weightzip.results import AUTO, FamilyRow
from weightzip.vae import find_family

RATIO = 4.0
NUM_WEIGHTS = 64 * 200 + 200 + 200 * 10 + 10


class Signs:
    """A task for a network of a few thousand weights."""

    name, metric = "signs", "accuracy, %"

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(64, 200), torch.nn.ReLU(), torch.nn.Linear(200, 10))

    def evaluate(self, model: torch.nn.Module) -> float:
        inputs = torch.randn(300, 64, generator=torch.Generator().manual_seed(1))
        return 100 * float((model(inputs).argmax(1) == inputs[:, :10].argmax(1)).float().mean())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    state = {"0.weight": 0.1 * torch.randn(200, 64, generator=generator), "0.bias": torch.zeros(200)}
    state |= {"2.weight": 0.1 * torch.randn(10, 200, generator=generator), "2.bias": torch.zeros(10)}
    path = tmp_path_factory.mktemp("model") / "signs.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def hardly_trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "FAMILIES", ("heteroskedastic", "conv"))
        for name in ("heteroskedastic", "conv"):
            family = find_family(name)
            patch.setattr(family, "defaults", {**family.defaults, "epochs": 1, "copies": 1, "hidden": 8})
        yield


@pytest.fixture(scope="module")
def report(source, tmp_path_factory) -> FamilyReport:
    return make_family_report(source, Signs(), tmp_path_factory.mktemp("report") / "out", ratio=RATIO)


def test_all_files_are_of_one_size(report):
    limit = 4 * NUM_WEIGHTS / RATIO
    assert report.file_bytes == int(limit)
    sizes = {row.family: row.file_bytes for row in report.rows}
    assert list(sizes) == [AUTO, "heteroskedastic", "conv"]
    assert sizes.pop("conv") is None
    assert all(0.97 * limit < size <= limit for size in sizes.values())


def test_a_decoder_over_the_size_is_told(report):
    conv = report.rows[2]
    assert conv.decoder_bytes > report.file_bytes
    assert (conv.ratio, conv.value, conv.relative_mse, conv.encode_seconds) == (None, None, None, None)
    assert conv.training_seconds > 0
    assert math.isfinite(conv.denoising_gain_db)


def test_the_figures_of_a_family(report):
    row = report.rows[1]
    assert row.ratio == pytest.approx(4 * NUM_WEIGHTS / row.file_bytes)
    assert row.decoder_bytes + row.latent_bytes + row.residual_bytes < row.file_bytes
    assert min(row.decoder_bytes, row.residual_bytes) > 100
    assert 0 < row.relative_mse < 0.2
    # Noise has no structure to be denoised by: what the network leaves out is all of the weights.
    assert row.denoising_gain_db < -10
    assert 0 <= row.value <= 100


def test_what_is_written(report):
    assert {path.name for path in report.directory.iterdir()} == {"families.json", "families.png"}
    rows = json.loads((report.directory / "families.json").read_text())
    assert [FamilyRow(**row) for row in rows] == list(report.rows)
    assert (report.directory / "families.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_names_every_family(report):
    figure = draw_families(report.rows, "a $title$", Metric("accuracy, %"), DARK)
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [row.family for row in report.rows]
    assert any("over the size" in text.get_text() for text in figure.axes[0].texts)


def test_a_size_that_even_the_default_codec_does_not_reach(source, tmp_path):
    with pytest.raises(TargetError, match="smaller --ratio"):
        make_family_report(source, Signs(), tmp_path / "out", ratio=1e5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ratio", [0.5, math.nan])
def test_a_ratio_that_makes_no_sense(source, tmp_path, ratio):
    with pytest.raises(UsageError, match="--ratio must be at least 1"):
        make_family_report(source, Signs(), tmp_path / "out", ratio=ratio)


def test_an_existing_report_is_kept(source, tmp_path):
    (tmp_path / "families.json").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        make_family_report(source, Signs(), tmp_path, ratio=RATIO)
    assert (tmp_path / "families.json").read_text() == "precious"
