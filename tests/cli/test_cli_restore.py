import torch
from safetensors.torch import load_file, save_file


def test_restores_under_the_sources_name(run, packed, model, state, folder):
    model.unlink()
    result = run("restore", packed)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("model.wz -> model.pt: ")
    assert "9,640 bytes, 4 tensors" in result.out
    restored = torch.load(folder / "model.pt", weights_only=True)
    assert {key: value.shape for key, value in restored.items()} == {key: value.shape for key, value in state.items()}


def test_restores_beside_the_file(run, packed, folder):
    (folder / "other").mkdir()
    packed.rename("other/small.wz")
    assert run("restore", "other/small.wz", "-q").code == 0
    assert {path.name for path in (folder / "other").iterdir()} == {"small.wz", "model.pt"}


def test_the_suffix_chooses_the_format(run, packed, state):
    assert run("restore", packed, "-o", "other.safetensors").code == 0
    assert list(load_file("other.safetensors")) == list(state)


def test_json_is_the_summary_with_the_output(run, packed):
    summary = run("restore", packed, "-o", "other.pt", "--json").json
    assert (summary["input"], summary["output"], summary["tensors"]) == ("model.wz", "other.pt", 4)


def test_quiet(run, packed):
    result = run("restore", packed, "-o", "other.pt", "-q")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_both_ratios_of_the_paper_preset(run, paper):
    line = run("restore", paper, "-o", "other.pt").out.splitlines()[1]
    assert "whole file: " in line
    assert "latents only (the paper's accounting): 18.8x" in line


def test_one_tensor(run, packed, state):
    result = run("restore", packed, "--tensor", "2.bias", "-o", "bias.safetensors")
    assert result.out.rstrip().endswith("40 bytes, 1 tensor")
    assert {key: value.shape for key, value in load_file("bias.safetensors").items()} == {"2.bias": state["2.bias"].shape}


def test_one_tensor_without_a_name_for_it_leaves_the_source_alone(run, packed, model, listing):
    content = model.read_bytes()
    result = run("restore", packed, "--tensor", "2.bias", "-f")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("model.wz -> 2.bias.pt: ")
    assert listing() == ["2.bias.pt", "model.pt", "model.wz"]
    assert model.read_bytes() == content


def test_a_tensor_that_is_not_there(run, packed, listing):
    result = run("restore", packed, "--tensor", "3.bias", "-o", "bias.pt")
    assert (result.code, result.out) == (2, "")
    assert "weightzip info model.wz" in result.err
    assert "bias.pt" not in listing()


def test_what_safetensors_cannot_hold_is_said(run, state):
    torch.save({"state_dict": state, "epoch": 3}, "training.pt")
    run("compress", "training.pt")
    result = run("restore", "training.wz", "-o", "model.safetensors")
    assert result.code == 0
    assert result.err.startswith("model.safetensors: holds the model's tensors only")
    assert run("restore", "training.wz", "-o", "again.pt").err == ""


def test_threads_make_no_difference(run, paper, folder):
    for threads in (1, 2):
        assert run("restore", paper, "-o", f"{threads}.pt", "--threads", threads).code == 0
    assert (folder / "1.pt").read_bytes() == (folder / "2.pt").read_bytes()


def test_in_a_process_of_its_own_with_nothing_but_the_file(run_alone, state, tmp_path):
    save_file(state, "model.safetensors")
    compressed = run_alone("compress", "model.safetensors", "--json")
    assert (compressed.code, compressed.err) == (0, "")
    alone = tmp_path / "alone"
    alone.mkdir()
    (tmp_path / "model.wz").rename(alone / "model.wz")
    (tmp_path / "model.safetensors").unlink()
    restored = run_alone("restore", "model.wz", cwd=alone)
    assert (restored.code, restored.err) == (0, "")
    error = max(float((load_file(alone / "model.safetensors")[key] - value).abs().max()) for key, value in state.items())
    assert abs(error - compressed.json["max_abs_error"]) < 1e-5
