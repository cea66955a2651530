"""`dry_run`: what a compression is expected to come to, and that nothing is written."""

import pytest
import torch

import weightzip
from weightzip.checkpoint import from_object
from weightzip.errors import CheckpointError, OutputError, TargetError, UsageError
from weightzip.estimating import planned
from weightzip.estimating.sample import THOROUGH, sample_of
from weightzip.progress import ProgressEvent
from weightzip.vae import VAESettings
from weightzip.zoo import entry

EXACT = [{}, {"ratio": 8}, {"bpw": 3.0}, {"max_error": 0.02}, {"lossless": True}, {"exclude": "*half"}]


@pytest.fixture
def large(monkeypatch):
    """A checkpoint that is sampled: layers alike, a tall matrix, biases, and integers that come back exactly."""
    monkeypatch.setattr(planned, "SMALL", 1 << 12)
    generator = torch.Generator().manual_seed(0)
    state = {"rows.weight": torch.randn(9000, 96, generator=generator)}
    for layer in range(12):
        state[f"{layer}.weight"] = (0.5 + 0.1 * layer) * torch.randn(256, 256, generator=generator)
        state[f"{layer}.bias"] = torch.randn(256, generator=generator)
    state["numbers"] = torch.randint(0, 1000, (60_000,), generator=generator)
    return state


def without_times(summary):
    return {key: value for key, value in summary.items() if key not in ("seconds", "dry_run", "expected")}


@pytest.mark.parametrize("options", EXACT, ids=str)
def test_a_small_checkpoint_is_told_exactly(source, listing_of, options):
    told = weightzip.compress(source, dry_run=True, **options)
    assert listing_of() == ["net.pt"]
    done = weightzip.compress(source, **options)
    assert without_times(told) == without_times(done)
    assert told["dry_run"]
    assert told["expected"]["exact"]
    assert told["expected"]["file_bytes"] == done["file_bytes"]


SLOW = [pytest.mark.slow, pytest.mark.ci]
SAMPLED = [
    {},
    pytest.param({"ratio": 12}, marks=SLOW),
    pytest.param({"bpw": 1.5}, marks=SLOW),
    {"max_error": 0.05},
    {"lossless": True},
]


@pytest.mark.parametrize("options", SAMPLED, ids=str)
def test_a_large_one_is_told_from_a_sample(large, listing_of, options):
    told = weightzip.compress(large, "out.wz", dry_run=True, **options)
    assert listing_of() == []
    done = weightzip.compress(large, "out.wz", **options)
    assert not told["expected"]["exact"]
    assert told["file_bytes"] == pytest.approx(done["file_bytes"], rel=0.05)
    assert told["relative_mse"] == pytest.approx(done["relative_mse"], rel=0.1)
    assert told["max_abs_error"] <= 1.1 * done["max_abs_error"] <= 1.5 * told["max_abs_error"]
    assert sum(told["sections"].values()) == told["file_bytes"]
    for key in ("tensors", "weights", "input_bytes", "preset"):
        assert told[key] == done[key]
    before, after = ({each["name"]: each for each in summary["tensor_list"]} for summary in (told, done))
    assert {name: each["coding"] for name, each in before.items()} == {name: each["coding"] for name, each in after.items()}
    assert before["7.weight"]["stored_bytes"] == pytest.approx(after["7.weight"]["stored_bytes"], rel=0.2)


@pytest.mark.parametrize("shape", [(4, 4), (32, 64), ()], ids=str)
def test_of_many_small_tensors_most_are_left_out(shape):
    """Or else a dry run would take as long as the real one."""
    model = from_object({str(number): torch.ones(shape) for number in range(3000)})
    sample = sample_of(model, model.tensors, THOROUGH)
    assert len(sample.checkpoint.tensors) <= 512
    assert [name for group in sample.groups for name in group.names] == list(model.tensors)


def test_of_few_small_tensors_all_are_taken():
    model = from_object({str(number): torch.ones(8) for number in range(500)})
    assert sample_of(model, model.tensors, THOROUGH).checkpoint.tensors.keys() == model.tensors.keys()


def test_the_same_is_told_again(large):
    first, second = (weightzip.compress(large, dry_run=True) for _ in range(2))
    assert without_times(first) == without_times(second)


def test_a_size_out_of_reach_is_told(large):
    with pytest.raises(TargetError, match="out of reach: the smallest file takes about"):
        weightzip.compress(large, ratio=5000, dry_run=True)


def test_a_search_for_a_metric_is_told_by_its_time(folder, task):
    weight = torch.randn(60, 50)
    job = task(weight)
    told = weightzip.compress({"weight": weight}, max_drop=10, task=job, dry_run=True)
    assert told["expected"]["seconds"] > 0
    assert told["expected"]["at_most"]
    assert "not known before" in told["note"]
    assert told["metric"] is None


@pytest.mark.slow
@pytest.mark.ci
def test_an_adaptation_is_told_by_its_first_steps(listing_of):
    item = entry("lenet-300-100")
    short, long = (
        weightzip.compress(item.checkpoint, "out.wz", task="zoo:lenet-300-100", adapt="calibrate", steps=n, dry_run=True)
        for n in (100, 100_000)
    )
    assert long["expected"]["seconds"] > 10 * short["expected"]["seconds"]
    assert listing_of() == []


def test_an_adaptation_without_training_is_told_by_a_probe_of_its_search(folder, task, monkeypatch):
    """As if each took 100 seconds."""
    clock, weight = [0.0], torch.randn(60, 50)

    def search(inputs, *, saved, force, progress):
        for number in range(1, 11):
            clock[0] += 100
            progress(ProgressEvent("calibrating", number, 10))

    monkeypatch.setattr(planned, "plan", search)
    monkeypatch.setattr(planned.time, "perf_counter", lambda: clock[0])
    told = weightzip.compress({"weight": weight}, adapt="calibrate", steps=0, task=task(weight), dry_run=True)
    assert clock == [200]
    assert told["expected"]["seconds"] == pytest.approx(1100, rel=0.01)


def test_the_paper_preset_is_told_by_its_network(source, tiny_vae):
    told = weightzip.compress(source, preset="paper", vae=tiny_vae, dry_run=True)
    done = weightzip.compress(source, preset="paper", vae=tiny_vae)
    assert told["latents"] == done["latents"]
    assert told["preset"] == done["preset"] == "paper"
    assert not told["expected"]["exact"]


@pytest.mark.parametrize("family", ["dense", "heteroskedastic"])
def test_the_paper_preset_without_anything_to_train_on(folder, family):
    state, options = {"numbers": torch.randint(0, 9, (100, 70))}, {"preset": "paper", "vae": VAESettings.of(family)}
    told, done = (weightzip.compress(state, dry_run=dry, **options) for dry in (True, False))
    assert told["file_bytes"] == pytest.approx(done["file_bytes"], abs=20)
    assert (told["latents"], told["preset"]) == (done["latents"], done["preset"])


def test_what_the_real_run_would_refuse_is_refused(source, folder):
    (folder / "there.wz").write_bytes(b"mine")
    assert "exists already: without -f" in weightzip.compress(source, "there.wz", dry_run=True)["note"]
    assert not weightzip.compress(source, "there.wz", dry_run=True, force=True)["note"]
    assert (folder / "there.wz").read_bytes() == b"mine"
    with pytest.raises(OutputError, match="same file"):
        weightzip.compress(source, source, dry_run=True, force=True)
    with pytest.raises(OutputError, match="no such folder"):
        weightzip.compress(source, "missing/out.wz", dry_run=True)
    with pytest.raises(UsageError, match="name one with --task"):
        weightzip.compress(source, max_drop=1, dry_run=True)
    with pytest.raises(CheckpointError, match="no such file"):
        weightzip.compress("missing.pt", dry_run=True)


def test_a_folder_that_allows_no_new_files_is_refused(source, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="allows no new files; choose another place with -o"):
        weightzip.compress(source, dry_run=True)


@pytest.mark.slow
def test_the_paper_preset_on_a_real_model(folder):
    """Of random weights a network learns nothing, so that its size tells nothing either."""
    checkpoint = entry("mnist-rnn").checkpoint
    told, done = (weightzip.compress(checkpoint, "out.wz", preset="paper", dry_run=dry) for dry in (True, False))
    assert told["file_bytes"] == pytest.approx(done["file_bytes"], rel=0.05)
