"""Draws from the posterior: how far they are, what they leave alone, and that the same ones come again."""

import math
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import weightzip
from weightzip.api import sample_to
from weightzip.baselines import UniformQuantisation
from weightzip.checkpoint import from_object
from weightzip.codec import encode
from weightzip.errors import CheckpointError, LimitError, OutputError, TaskError, UsageError

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def file(folder, source):
    weightzip.compress(source, "net.wz")
    return folder / "net.wz"


@pytest.fixture
def gaussian():
    """Enough weights for their mean square to be told to a percent or so, in more than one stream."""
    return {"a": torch.randn(400, 300), "b": torch.randn(300, 200), "bias": torch.randn(400)}


def bits(state):
    return {name: tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for name, tensor in state.items()}


def relative_mse(state, other):
    error = sum(float((state[name] - other[name]).double().square().sum()) for name in state)
    return error / sum(float(tensor.double().square().sum()) for tensor in other.values())


def test_a_draw_has_the_sources_keys_shapes_and_dtypes(file, state):
    (drawn,) = weightzip.sample(file)
    assert list(drawn) == list(state)
    for name, tensor in state.items():
        assert (drawn[name].shape, drawn[name].dtype) == (tensor.shape, tensor.dtype)


@pytest.mark.parametrize(
    "name", ["auto2", "auto3", "max_error3", "paper2", "paper3", "parts", "wrapped2", "heteroskedastic", "causal"]
)
def test_at_temperature_0_it_is_what_is_restored(name):
    path = GOLDEN / f"{name}.wz"
    assert bits(weightzip.sample(path, temperature=0)[0]) == bits(weightzip.restore(path))


@pytest.mark.parametrize("name", ["auto3", "max_error3", "paper3", "parts", "heteroskedastic"])
def test_a_seed_gives_the_same_draw_and_another_seed_another(name):
    path = GOLDEN / f"{name}.wz"
    first, again, other = (bits(weightzip.sample(path, seed=seed)[0]) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first != bits(weightzip.restore(path))


@pytest.mark.parametrize("name", ["auto3", "paper3", "heteroskedastic"])
def test_a_draw_does_not_depend_on_how_many_there_are(name):
    path = GOLDEN / f"{name}.wz"
    three, one = weightzip.sample(path, count=3), weightzip.sample(path)
    assert bits(three[0]) == bits(one[0])
    assert len({tuple(bits(drawn).values()) for drawn in three}) == 3


def test_threads_make_no_difference(gaussian):
    weightzip.compress(gaussian, "net.wz")
    assert bits(weightzip.sample("net.wz", threads=1)[0]) == bits(weightzip.sample("net.wz", threads=2)[0])


@pytest.mark.parametrize("options", [{}, {"max_error": 0.2}], ids=str)
def test_a_draw_is_as_far_from_the_restored_weights_as_the_source_is(gaussian, options):
    summary = weightzip.compress(gaussian, "net.wz", **options)
    restored = weightzip.restore("net.wz")
    for drawn in weightzip.sample("net.wz", count=2):
        assert relative_mse(drawn, restored) == pytest.approx(summary["relative_mse"], rel=0.02)


def test_transforms_turn_the_noise_and_leave_its_size(folder):
    smooth = torch.cumsum(torch.randn(200, 256), dim=1)
    summary = weightzip.compress({"w": smooth}, "net.wz")
    assert "transforms" in summary["sections"]
    (drawn,) = weightzip.sample("net.wz")
    assert relative_mse(drawn, weightzip.restore("net.wz")) == pytest.approx(summary["relative_mse"], rel=0.02)


def test_the_noise_has_no_mean_and_no_favourites(gaussian):
    weightzip.compress(gaussian, "net.wz")
    restored, (drawn, other) = weightzip.restore("net.wz"), weightzip.sample("net.wz", count=2)
    noise, second = ((state["a"] - restored["a"]).flatten() for state in (drawn, other))
    limit = 5 / math.sqrt(noise.numel())
    assert abs(float(noise.mean() / noise.std())) < limit
    for with_what in (restored["a"].flatten(), second, noise.roll(1)):
        assert abs(float(torch.corrcoef(torch.stack([noise, with_what]))[0, 1])) < limit


def test_noise_stays_in_the_cell(gaussian):
    weightzip.compress(gaussian, "net.wz", max_error=0.1)
    restored, (drawn,) = weightzip.restore("net.wz"), weightzip.sample("net.wz")
    furthest = float((drawn["a"] - restored["a"]).abs().max())
    assert 0.098 < furthest < 0.101


def test_the_temperature_is_a_factor(gaussian):
    weightzip.compress(gaussian, "net.wz")
    restored = weightzip.restore("net.wz")
    (once,), (twice,) = (weightzip.sample("net.wz", temperature=temperature) for temperature in (1, 2))
    torch.testing.assert_close(twice["a"] - restored["a"], 2 * (once["a"] - restored["a"]), rtol=1e-4, atol=1e-6)


def test_weights_that_are_all_but_zero_stay_so(folder):
    """Their latents do not fill the cells, which are as wide as those of the others."""
    weight = torch.randn(400, 300)
    weight[200:] *= 1e-3
    weightzip.compress({"w": weight}, "net.wz")
    restored, (drawn,) = weightzip.restore("net.wz"), weightzip.sample("net.wz")
    noise = (drawn["w"] - restored["w"]).square()
    assert float(noise[200:].mean()) < 0.01 * float(noise[:200].mean())


def test_what_is_exact_stays_as_it_is(file, state):
    restored, (drawn,) = weightzip.restore(file), weightzip.sample(file, temperature=5)
    assert not torch.equal(drawn["module.layer.weight"], restored["module.layer.weight"])
    for name in ("module.steps", "module.nan"):
        assert bits({name: drawn[name]}) == bits({name: state[name]})


def test_excluded_weights_stay_as_they_are(source, state):
    weightzip.compress(source, "net.wz", exclude="*layer.bias")
    (drawn,) = weightzip.sample("net.wz")
    assert torch.equal(drawn["module.layer.bias"], state["module.layer.bias"])


def test_aliases_stay_aliases(file):
    (drawn,) = weightzip.sample(file, "drawn.pt")
    assert torch.equal(drawn["module.tied.weight"], drawn["module.layer.weight"])
    drawn["module.tied.weight"][0, 0] = 77
    assert drawn["module.layer.weight"][0, 0] == 77
    written = torch.load("drawn.pt", weights_only=True)
    assert written["module.tied.weight"].data_ptr() == written["module.layer.weight"].data_ptr()


def test_half_precision_stays_finite(folder):
    large = torch.full((64, 64), 65504.0) * torch.randn(64, 64).sign()
    weightzip.compress({"w": large.half(), "v": torch.randn(30, 30).bfloat16()}, "net.wz")
    (drawn,) = weightzip.sample("net.wz")
    assert (drawn["w"].dtype, drawn["v"].dtype) == (torch.float16, torch.bfloat16)
    assert torch.isfinite(drawn["w"]).all()


def test_the_rest_of_a_checkpoint_comes_along(folder):
    checkpoint = {"epoch": 3, "model": {"w": torch.randn(50, 50)}, "optimizer": {"state": {0: torch.randn(50, 50)}}}
    torch.save(checkpoint, "whole.ckpt")
    weightzip.compress("whole.ckpt")
    (drawn,) = weightzip.sample("whole.wz", "drawn.ckpt")
    written = torch.load("drawn.ckpt", weights_only=True)
    assert (list(drawn), written["epoch"]) == (["w"], 3)
    assert torch.equal(written["model"]["w"], drawn["w"])
    assert torch.equal(written["optimizer"]["state"][0], checkpoint["optimizer"]["state"][0])


def test_the_papers_latents_move_the_weights_about_as_far_as_coding_did():
    """Noise that filled their cells would go further: the network was fitted to rounded latents."""
    path = GOLDEN / "paper3.wz"
    recorded, restored = weightzip.info(path)["relative_mse"], weightzip.restore(path)
    lossy = ("w", "b")
    restored = {name: restored[name] for name in lossy}
    distances = [relative_mse({name: drawn[name] for name in lossy}, restored) for drawn in weightzip.sample(path, count=21)]
    assert statistics.median(distances) == pytest.approx(recorded, rel=0.4)  # it has few latents, some of which reach far


@pytest.mark.parametrize("name", ["heteroskedastic", "causal"])
def test_a_familys_residuals_move_the_weights_about_as_far_as_coding_did(name):
    recorded = weightzip.info(GOLDEN / f"{name}.wz")["relative_mse"]
    restored, (drawn,) = weightzip.restore(GOLDEN / f"{name}.wz"), weightzip.sample(GOLDEN / f"{name}.wz")
    assert 0.7 * recorded < relative_mse(drawn, restored) < 1.3 * recorded


def test_a_file_without_loss_is_refused(source, listing_of):
    weightzip.compress(source, "net.wz", lossless=True)
    before = listing_of()
    for verb in (weightzip.sample, sample_to):
        with pytest.raises(UsageError, match=r"net\.wz: all its tensors are exact.*without --lossless"):
            verb("net.wz", "drawn.pt")
    assert listing_of() == before


def test_codecs_without_a_posterior_are_refused(folder):
    coded = encode(from_object({"w": torch.randn(40, 40)}), UniformQuantisation(4))
    Path("net.wz").write_bytes(coded.pack())
    with pytest.raises(UsageError, match=r"the codec 'baseline/uniform' has no posterior.*with the preset auto or paper"):
        weightzip.sample("net.wz")
    with pytest.raises(UsageError, match="the codec 'auto' has no posterior"):
        weightzip.sample(GOLDEN / "auto.wz")


@pytest.mark.parametrize(
    ("option", "value"),
    [("count", 0), ("count", -1), ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf), ("seed", -1)],
)
def test_values_out_of_range(file, listing_of, option, value):
    before = listing_of()
    for verb in (weightzip.sample, sample_to):
        with pytest.raises(UsageError, match=f"--{option} must be"):
            verb(file, "drawn.pt", **{option: value})
    assert listing_of() == before


def test_what_exists_is_refused_before_anything_is_drawn(file, folder):
    (folder / "drawn-3.pt").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"drawn-3\.pt: exists already"):
        weightzip.sample(file, "drawn.pt", count=3, progress=pytest.fail)
    assert (folder / "drawn-3.pt").read_bytes() == b"mine"
    assert not (folder / "drawn-1.pt").exists()
    weightzip.sample(file, "drawn.pt", count=3, force=True)
    assert (folder / "drawn-3.pt").read_bytes() != b"mine"


def test_the_default_names(file, source, listing_of):
    assert [each.output.name for each in sample_to(file).samples] == ["net-sample.pt"]
    sample_to(file, count=2)
    assert listing_of() == ["net-sample-1.pt", "net-sample-2.pt", "net-sample.pt", "net.pt", "net.wz"]


def test_what_is_written_is_what_is_returned(folder):
    save_file({"b": torch.randn(40, 40), "a": torch.randn(4)}, "net.safetensors")
    weightzip.compress("net.safetensors")
    drawn = weightzip.sample("net.wz", "drawn.safetensors", count=2, seed=1)
    for number in (1, 2):
        written = load_file(f"drawn-{number}.safetensors")
        assert bits(written) == {name: bits(drawn[number - 1])[name] for name in written}


def test_shards_come_as_folders_of_shards(folder):
    written = [each.output for each in sample_to(GOLDEN / "shards.wz", folder / "drawn.1", count=2).samples]
    assert [path.name for path in written] == ["drawn.1-1", "drawn.1-2"]
    assert sum(len(list(path.glob("*.index.json"))) for path in written) == 2
    tensors = {name for path in written[0].glob("*.safetensors") for name in load_file(path)}
    assert tensors == set(weightzip.restore(GOLDEN / "shards.wz"))


def test_a_write_that_fails_leaves_nothing(file, listing_of, monkeypatch):
    def no_space(handle):
        raise OSError(28, "No space left on device")

    before = listing_of()
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OutputError, match="No space left"):
        weightzip.sample(file, "drawn.pt", count=3)
    assert listing_of() == before


def test_an_interruption_in_a_later_draw_leaves_nothing(file, listing_of):
    def interrupt(event):
        if event.done > 3 * event.total // 8:  # one half is to write, the other to return
            raise KeyboardInterrupt

    before = listing_of()
    with pytest.raises(KeyboardInterrupt):
        weightzip.sample(file, "drawn.pt", count=3, progress=interrupt)
    assert listing_of() == before


def test_a_task_measures_the_restored_weights_and_every_draw(folder, task):
    weight = torch.randn(40, 50)
    job = task(weight)
    weightzip.compress({"weight": weight}, "net.wz")
    sampled = sample_to("net.wz", count=2, task=job)
    assert sampled.metric == "closeness, points"
    assert sampled.restored == pytest.approx(100 - 100 * math.sqrt(weightzip.info("net.wz")["relative_mse"]), abs=0.5)
    for each in sampled.samples:  # the error of coding and that of the draw add up
        assert (100 - each.value) / (100 - sampled.restored) == pytest.approx(math.sqrt(2), rel=0.1)


def test_a_task_that_fails_leaves_nothing(folder, task, listing_of):
    weight = torch.randn(40, 50)
    weightzip.compress({"weight": weight}, "net.wz")
    job, before = task(weight), listing_of()
    values = iter([1.0, 1.0, math.nan])
    job.evaluate = lambda model: next(values)
    with pytest.raises(TaskError, match="finite"):
        sample_to("net.wz", "drawn.pt", count=3, task=job)
    with pytest.raises(CheckpointError, match="does not fit"):
        sample_to("net.wz", "drawn.pt", task=task(torch.randn(2, 3)))
    assert listing_of() == before


def test_memory_is_capped(file, folder):
    needed = weightzip.info(file)["input_bytes"]
    weightzip.sample(file, count=2, memory=2 * needed)
    with pytest.raises(LimitError, match=f"over the cap of {2 * needed - 1:,}"):
        weightzip.sample(file, "drawn.pt", count=2, memory=2 * needed - 1)
    assert not list(folder.glob("drawn*"))
    with pytest.raises(LimitError, match="over the cap of 1,000"):
        sample_to(file, memory=1000)


def test_a_draw_loads_into_a_module(folder):
    module = torch.nn.Linear(50, 40)
    weightzip.compress(module, "net.wz")
    for state in weightzip.sample("net.wz", count=2):
        module.load_state_dict(state)
