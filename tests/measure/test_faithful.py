"""The families' benchmark, in its tiny configuration: that it measures what it says; docs/families.md has its real figures."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weightzip.cli.bench_families import bench_families
from weightzip.cli.output import Output
from weightzip.errors import MeasurementError, OutputError, UsageError
from weightzip.measure import faithful
from weightzip.measure.faithful import PARTS, QUICK, FamiliesBenchmark, Row, markdown, measure_families
from weightzip.measure.faithful.anomaly import without
from weightzip.measure.faithful.autoencode import LATENT, noisy, reconstructed
from weightzip.measure.faithful.denoise import quality
from weightzip.measure.faithful.generate import Features, frechet, generated
from weightzip.measure.faithful.nets import labelled_vae, rmsprop
from weightzip.measure.faithful.pixels import Pixels, Splits
from weightzip.measure.faithful.semi import accuracy, balanced
from weightzip.measure.faithful.settings import Schedule, reseeded
from weightzip.measure.faithful.squeeze import num_bytes
from weightzip.measure.faithful.table import COLUMNS
from weightzip.measure.faithful.training import Trainer, fit
from weightzip.progress import ProgressEvent, silent
from weightzip.results import Machine
from weightzip.vae import UNKNOWN, Sizes, build_family
from weightzip.vae.elbo import Posterior
from weightzip.zoo.data import mnist

ROW = Row("semi", "dense", "accuracy", 0.8124, 0.808, (0, 1), 200, 31.2, 0.01)
FOUND = FamiliesBenchmark(Machine("a machine", {}), 5.0, (ROW,))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits.of(QUICK)


@pytest.fixture(scope="module")
def measured() -> tuple[FamiliesBenchmark, list[ProgressEvent]]:
    events: list[ProgressEvent] = []
    return measure_families(QUICK, progress=events.append), events


def test_every_part_finds_something(measured):
    found, _ = measured
    assert tuple(dict.fromkeys(row.experiment for row in found.rows)) == PARTS
    assert all(math.isfinite(row.measured) for row in found.rows)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["rows"][0]["seeds"] == [0, 1]


def test_shares_are_shares_and_ratios_those_of_the_rows_before(measured):
    rows = {(row.experiment, row.setting, row.measure): row.measured for row in measured[0].rows}
    assert all(0 <= value <= 1 for (_, _, measure), value in rows.items() if measure in ("accuracy", "AUC"))
    pair = [rows["squeeze", f"{name}, {LATENT} latents", "bytes, decoder"] for name in ("conv", "squeezed")]
    assert rows["squeeze", "squeezed to conv", "ratio of bytes, decoder"] == pair[1] / pair[0]
    distances = [rows["generate", f"{name}, {LATENT} latents", "Frechet distance"] for name in ("dense", "conv")]
    assert rows["generate", "conv to dense", "ratio"] == distances[1] / distances[0]


def test_progress_is_told_for_every_training(measured):
    stages = {event.stage for event in measured[1]}
    assert {
        "dense, 20 labels",
        "convolutional, 20 labels, alone",
        "without 1, usual VAE",
        "dense, strided, conv, squeezed",
    } <= stages
    assert all(0 < event.done <= event.total for event in measured[1])


def test_a_seed_always_gives_the_same_figures(measured):
    again = measure_families(QUICK, ("anomaly",))
    first = [row.measured for row in measured[0].rows if row.experiment == "anomaly"]
    assert [row.measured for row in again.rows] == first
    other = measure_families(reseeded(QUICK, 5), ("anomaly",))
    assert [row.measured for row in other.rows] != first
    assert {row.seeds for row in other.rows} == {(5,)}


def test_a_part_that_there_is_not():
    with pytest.raises(UsageError, match="'nonsense': no such part of the benchmark; use one of semi, anomaly"):
        measure_families(QUICK, ("semi", "nonsense"))


def test_pixels_are_those_of_mnist(splits):
    images = mnist(train=True).images
    assert splits.fitted.values.min() == 0
    assert splits.fitted.values.max() == 1
    bytes_ = splits.fitted.values * 255
    torch.testing.assert_close(bytes_, bytes_.round(), atol=1e-4, rtol=0)
    normalised = splits.black + splits.validation.values * (splits.white - splits.black)
    torch.testing.assert_close(normalised, images[400:450].flatten(1), atol=1e-5, rtol=0)
    assert torch.equal(splits.test.labels, mnist(train=False).labels[:200])


def test_as_many_labels_of_each_digit(splits):
    drawn = balanced(splits.fitted, 100, torch.Generator().manual_seed(0))
    assert drawn.labels.bincount().tolist() == [10] * 10
    assert len(torch.unique(drawn.values, dim=0)) == 100
    other = balanced(splits.fitted, 100, torch.Generator().manual_seed(1))
    assert not torch.equal(drawn.values, other.values)


def test_one_digit_is_left_out(splits):
    others = without(splits.fitted, 4)
    assert len(others) == int((splits.fitted.labels != 4).sum())
    assert torch.unique(others.labels).tolist() == list(range(9))
    kept = splits.fitted.labels[splits.fitted.labels != 4]
    assert torch.equal(others.labels + (others.labels >= 4), kept)
    assert set(others.unlabelled().labels.tolist()) == {UNKNOWN}


def test_accuracy_is_the_share_of_right_labels():
    model = labelled_vae("dense", 10, 0)
    values = torch.rand(50, 784, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        best = model.logits(Pixels(values, torch.zeros(50).long()).batch()).argmax(dim=1)
    wrong = torch.arange(50) < 20
    assert accuracy(model, Pixels(values, torch.where(wrong, (best + 1) % 10, best))) == pytest.approx(0.6)


@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_networks_depend_on_the_seed_alone(network):
    state = torch.random.get_rng_state()
    first, again, other = (labelled_vae(network, 10, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [name for name in first if name.endswith("weight")]
    assert not any(torch.equal(first[name], other[name]) for name in weights)
    assert torch.equal(torch.random.get_rng_state(), state)


def scripted(figures: list[float]) -> Trainer:
    """A trainer of one number, whose gradient is 1, with these validation figures in turn."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    rate = torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(network.parameters(), lr=1.0), factor=1.0)
    left = iter(figures)
    return Trainer(network, rate, lambda: network.weight.sum(), lambda: next(left))


def test_training_ends_without_progress_and_with_its_best_state():
    trainer = scripted([3.0, 1.0, 2.0, 1.0, 0.0])
    fit([trainer], Schedule(steps=100, check_every=2, patience=2), "x", silent)
    assert trainer.steps == 8
    assert trainer.network.weight.item() == -4  # after two looks at two steps each
    assert not trainer.network.weight.requires_grad


def test_networks_that_are_done_wait_for_the_others():
    short, long = scripted([1.0, 2.0, 3.0]), scripted([5.0, 4.0, 3.0, 2.0])
    events: list[ProgressEvent] = []
    fit([short, long], Schedule(steps=4, check_every=1, patience=1), "both", events.append)
    assert (short.steps, long.steps) == (2, 4)
    assert (short.network.weight.item(), long.network.weight.item()) == (-1, -4)
    assert [(event.done, event.total) for event in events] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_training_that_diverges_is_an_error():
    with pytest.raises(MeasurementError, match="diverged"):
        fit([scripted([math.nan, math.nan])], Schedule(2, 1), "x", silent)


def test_the_rate_of_learning_warms_up():
    weight = nn.Parameter(torch.ones(()))
    rate = rmsprop([weight], warm_up=4)
    rates = []
    for _ in range(6):
        rates.append(rate.get_last_lr()[0])
        rate.optimizer.step()
        rate.step()
    assert rates == pytest.approx([factor * 5e-4 for factor in (0.25, 0.4375, 0.625, 0.8125, 1.0, 1.0)])
    assert rmsprop([weight], warm_up=1).get_last_lr() == [5e-4]


def test_a_latent_beyond_the_limits_comes_back():
    """It did not, and stayed in the decoder as noise, as the limits had no gradient."""
    raw = torch.tensor([[0.3, 7.3]], requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    assert Posterior.of(raw).log_variance.tolist() == [[5.0]]
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(Posterior.of(raw).kl().sum())
        optimiser.step()
    assert float(raw.detach()[0, 1]) < 2


def test_noise_has_its_deviation_and_pixels_their_range():
    grey = torch.full((100, 784), 0.5)
    found = noisy(grey, 0.1, torch.Generator().manual_seed(0))
    assert float((found - grey).std()) == pytest.approx(0.1, rel=0.01)
    assert torch.equal(noisy(grey, 0.0, torch.Generator()), grey)
    assert noisy(grey, 3.0, torch.Generator().manual_seed(0)).aminmax() == (0, 1)


def test_quality_of_known_images(splits):
    clean = splits.test.first(5).values * 0.8
    assert quality(clean + 0.1, clean)[0] == pytest.approx(20.0, abs=1e-4)
    slight, strong = (quality(noisy(clean, noise, torch.Generator().manual_seed(0)), clean) for noise in (1e-3, 0.5))
    assert slight[1] > 0.9
    assert strong[0] < slight[0]
    assert strong[1] < 0.5


def test_the_frechet_distance_has_the_values_of_its_formula():
    one = np.random.default_rng(0).normal(size=(500, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + 2) == pytest.approx(6 * 4)
    wider = np.trace(np.cov(one, rowvar=False)) + np.square(one.mean(axis=0)).sum()
    assert frechet(one, 3 * one) == pytest.approx(4 * wider)


def test_features_are_what_the_classes_are_told_from(splits):
    """The classes found from the features are as good as the zoo says."""
    from weightzip import checkpoint as checkpoints
    from weightzip.zoo import entry

    features = Features(splits).of(splits.test.values)
    weights = checkpoints.read(entry("lenet-5").checkpoint).tensors
    (matrix,) = (tensor for tensor in weights.values() if tensor.shape == (10, 500))
    (bias,) = (tensor for tensor in weights.values() if tensor.shape == (10,))
    assert features.shape == (200, 500)
    classes = (torch.from_numpy(features).float() @ matrix.T + bias).argmax(dim=1)
    assert float((classes == splits.test.labels).float().mean()) >= 0.98


def test_made_up_images_depend_on_the_seed_alone():
    model = build_family("dense", Sizes(784, LATENT, 16), 0).eval()
    first, again, other = (generated(model, 7, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (7, 784)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert reconstructed(model, first).aminmax().min >= 0


def test_the_squeezed_family_is_the_smaller_one():
    conv, squeezed = (build_family(name, Sizes(784, LATENT, 1)) for name in ("conv", "squeezed"))
    assert num_bytes(nn.Linear(3, 2)) == 4 * 8
    assert num_bytes(squeezed) < 0.75 * num_bytes(conv)
    assert num_bytes(squeezed.decoder) < 0.75 * num_bytes(conv.decoder)


def test_the_table_has_a_line_for_each_row(measured):
    lines = markdown(measured[0].rows).splitlines()
    assert len(lines) == 2 + len(measured[0].rows)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


@pytest.fixture
def asked(monkeypatch):
    """What the command asks for; it is answered at once."""
    asked = []

    def measure(settings, progress):
        asked.append(settings)
        return FOUND

    monkeypatch.setattr(faithful, "measure_families", measure)
    return asked


def test_the_command_says_json_or_tables(asked, capsys):
    bench_families(Output(json=True), seed=2, quick=True, output=None)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(FOUND.to_json()))
    assert asked == [replace(QUICK, seed=2, semi_seeds=(2, 3))]
    bench_families(Output(), seed=0, quick=False, output=None)
    assert asked[1] == faithful.FULL
    assert "0.812 ± 0.010" in capsys.readouterr().out


def test_the_command_writes_its_table(asked, tmp_path: Path, capsys):
    target = tmp_path / "families.md"
    bench_families(Output(quiet=True), seed=0, quick=True, output=target)
    assert target.read_text(encoding="utf-8") == markdown(FOUND.rows) + "\n"
    assert capsys.readouterr().out == ""
    with pytest.raises(OutputError, match="exists"):
        bench_families(Output(quiet=True), seed=0, quick=True, output=target)
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["sklearn", "skimage"])
def test_libraries_that_are_missing_are_named(monkeypatch, name):
    for module in [module for module in sys.modules if module.startswith(("weightzip.measure.faithful", f"{name}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"weightzip\[bench\]"):
        bench_families(Output(quiet=True), seed=0, quick=True, output=None)
