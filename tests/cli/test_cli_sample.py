import json

import pytest
import torch
from safetensors.torch import load_file

from weightzip.zoo import entry


def test_a_draw_beside_the_file(run, packed, state, listing):
    result = run("sample", packed)
    assert (result.code, result.err) == (0, "")
    assert "model-sample.pt" in result.out
    assert listing() == ["model-sample.pt", "model.pt", "model.wz"]
    drawn = torch.load("model-sample.pt", weights_only=True)
    assert {key: value.shape for key, value in drawn.items()} == {key: value.shape for key, value in state.items()}


def test_several_draws_are_numbered(run, packed, listing):
    assert run("sample", packed, "-n", 3, "-q").code == 0
    assert listing() == ["model-sample-1.pt", "model-sample-2.pt", "model-sample-3.pt", "model.pt", "model.wz"]


def test_the_suffix_chooses_the_format(run, packed, state):
    assert run("sample", packed, "-n", 2, "-o", "drawn.safetensors").code == 0
    assert list(load_file("drawn-2.safetensors")) == list(state)


def test_json_has_a_row_for_each_draw(run, packed):
    data = run("sample", packed, "-n", 2, "--seed", 5, "--temperature", 0.5, "--json").json
    assert {**data, "samples": []} == {"input": "model.wz", "temperature": 0.5, "seed": 5, "samples": []}
    assert [row["output"] for row in data["samples"]] == ["model-sample-1.pt", "model-sample-2.pt"]
    assert all(row["metric"] is None and 0.001 < row["relative_mse"] < 0.01 for row in data["samples"])


def test_with_a_task_draws_are_measured(run, packed, task):
    data = run("sample", packed, "-n", 2, "--task", task, "--json").json
    restored = {row["metric"]["restored"] for row in data["samples"]}
    assert len(restored) == 1
    for row in data["samples"]:
        assert row["metric"]["name"] == "score, %"
        assert 0 <= row["metric"]["sample"] <= 100
    table = run("sample", packed, "-n", 2, "--task", task, "-f").out
    assert "score, %" in table
    assert f"{restored.pop():.2f}" in next(line for line in table.splitlines() if "as restored" in line)
    assert len([line for line in table.splitlines() if "model-sample-" in line]) == 2


def test_a_seed_gives_the_same_file(run, packed, folder):
    for name, seed in (("a.pt", 1), ("b.pt", 1), ("c.pt", 2)):
        assert run("sample", packed, "--seed", seed, "-o", name, "-q").code == 0
    first, again, other = ((folder / name).read_bytes() for name in ("a.pt", "b.pt", "c.pt"))
    assert first == again != other


def test_at_temperature_0_it_is_what_is_restored(run, packed, folder):
    assert run("restore", packed, "-o", "restored.pt").code == 0
    assert run("sample", packed, "--temperature", 0, "-o", "drawn.pt").code == 0
    assert (folder / "restored.pt").read_bytes() == (folder / "drawn.pt").read_bytes()


def test_threads_make_no_difference(run, packed, folder):
    for threads in (1, 2):
        assert run("sample", packed, "-o", f"{threads}.pt", "--threads", threads).code == 0
    assert (folder / "1.pt").read_bytes() == (folder / "2.pt").read_bytes()


def test_what_exists_is_refused(run, packed, folder, listing):
    (folder / "model-sample-2.pt").write_text("mine")
    before = listing()
    result = run("sample", packed, "-n", 2)
    assert (result.code, result.out) == (1, "")
    assert "model-sample-2.pt: exists already" in result.err
    assert listing() == before
    assert run("sample", packed, "-n", 2, "-f").code == 0


def test_a_file_without_loss_is_refused(run, model, listing):
    assert run("compress", model, "--lossless", "-q").code == 0
    before = listing()
    result = run("sample", "model.wz")
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert "without --lossless" in result.err
    assert listing() == before


@pytest.mark.parametrize(
    "arguments", [["-n", "0"], ["--count", "x"], ["--temperature", "-1"], ["--temperature", "nan"], ["--seed", "-1"]]
)
def test_values_out_of_range(run, packed, listing, arguments):
    before = listing()
    result = run("sample", packed, *arguments)
    assert (result.code, result.out) == (2, "")
    assert listing() == before


def test_what_safetensors_cannot_hold_is_said(run, state):
    torch.save({"state_dict": state, "epoch": 3}, "training.pt")
    run("compress", "training.pt")
    result = run("sample", "training.wz", "-o", "drawn.safetensors")
    assert result.code == 0
    assert "hold the model's tensors only" in result.err


def test_a_zoo_model_bears_the_noise_of_its_own_file(run):
    assert run("compress", entry("mnist-fnn").checkpoint, "-o", "fnn.wz", "-q").code == 0
    samples = json.loads(run("sample", "fnn.wz", "-n", 2, "--task", "zoo:mnist-fnn", "--json").out)["samples"]
    for row in samples:
        assert row["relative_mse"] == pytest.approx(0.0159, rel=0.15)
        assert abs(row["metric"]["sample"] - row["metric"]["restored"]) < 0.5
