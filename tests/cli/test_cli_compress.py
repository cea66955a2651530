import re
import subprocess
import sys

import pytest
import torch

FIELDS = {
    "input": str,
    "output": str,
    "preset": str,
    "tensors": int,
    "weights": int,
    "input_bytes": int,
    "file_bytes": int,
    "ratio": float,
    "bits_per_weight": float,
    "latents": int,
    "sections": dict,
    "relative_mse": float,
    "max_abs_error": float,
    "seconds": float,
}


def test_the_summary_is_one_line_and_what_was_lost(run, model):
    result = run("compress", model)
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first.startswith("model.pt -> model.wz: 9,640 -> ")
    assert "x smaller (" in first
    assert "bits per weight)" in first
    assert "relative mean square error" in second


def test_json_has_the_fields_of_the_interface(run, model, folder):
    summary = run("compress", model, "--json").json
    assert {name: type(summary[name]) for name in FIELDS} == FIELDS
    assert summary["latent_ratio"] is None
    assert summary["metric"] is None
    assert summary["file_bytes"] == sum(summary["sections"].values()) == (folder / "model.wz").stat().st_size
    assert summary["ratio"] == summary["input_bytes"] / summary["file_bytes"]


def test_json_is_all_of_stdout_whatever_a_task_prints(run, model, task, folder):
    quiet = (folder / "task.py").read_text()
    (folder / "task.py").write_text("print('loading')\n" + quiet.replace("inputs =", "print('evaluating'); inputs ="))
    result = run("compress", model, "--lossless", "--task", task, "--json")
    assert result.json["metric"]["name"] == "score, %"
    assert {"loading", "evaluating"} <= set(result.err.splitlines())


def test_tensors_without_values(run, folder):
    torch.save({"empty": torch.empty(0, 3)}, folder / "empty.pt")
    result = run("compress", "empty.pt")
    assert (result.code, result.err) == (0, "")
    assert "bytes, for tensors without values (" in result.out
    assert run("info", "empty.wz").code == 0
    assert run("info", "empty.wz", "--json").json["ratio"] == 0


def test_quiet_says_nothing(run, model, listing):
    result = run("compress", model, "-q")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert listing() == ["model.pt", "model.wz"]


def test_quiet_json_is_still_given(run, model):
    assert run("compress", model, "-q", "--json").json["tensors"] == 4


def test_verbose_says_where_the_bytes_went_on_stderr(run, model):
    result = run("compress", model, "-v", "--json")
    assert result.json["tensors"] == 4
    assert "bytes by section: header" in result.err


def test_a_dry_run_says_what_to_expect_and_writes_nothing(run, model, listing):
    result = run("compress", model, "--dry-run")
    assert result.code == 0
    size, machine, errors = result.out.splitlines()
    assert re.fullmatch(r"would write .*model\.wz: [\d,]+ bytes \([\d.]+x smaller\)", size)
    assert re.fullmatch(r"  in about \d+ s, with about [\d.]+ [MG]B of memory", machine)
    assert errors.startswith("  relative mean square error")
    assert result.err == "dry run: nothing was written\n"
    told = run("compress", model, "--dry-run", "--json").json
    assert told["dry_run"]
    assert told["expected"]["file_bytes"] == told["file_bytes"] == run("compress", model, "--json").json["file_bytes"]
    assert listing() == ["model.pt", "model.wz"]
    in_the_way = run("compress", model, "--dry-run")
    assert in_the_way.code == 0
    assert "model.wz exists already: without -f the real run will not overwrite it" in in_the_way.out
    assert "exists already" not in run("compress", model, "--dry-run", "-f").out


def test_a_dry_run_says_which_figures_are_estimates(run, model, monkeypatch):
    assert re.search(r"\n  relative mean square error 0\.0\d+, largest error \d", run("compress", model, "--dry-run").out)
    monkeypatch.setattr("weightzip.estimating.planned.SMALL", 0)  # elements, so that this one is sampled as well
    estimated = run("compress", model, "--dry-run").out
    assert re.search(r"model\.wz: about .*\n.*\n  relative mean square error about 0\.0\d+, largest error about \d", estimated)
    assert "relative mean square error 0, largest error 0\n" in run("compress", model, "--dry-run", "--lossless").out


def test_the_paper_preset_shows_both_ratios_side_by_side(run, model):
    arguments = ("compress", model, "--preset", "paper", "--epochs", 1, "--copies", 2)
    line = run(*arguments).out.splitlines()[1]
    assert "whole file: " in line
    assert "latents only (the paper's accounting): 18.8x" in line  # 9,640 bytes / 4 / 128 latents
    assert run(*arguments, "-f", "--json").json["latent_ratio"] == 9640 / (4 * 128)


@pytest.mark.parametrize(("family", "latents"), [("heteroskedastic", 7), ("labelled", 7 + 6), ("causal", 0)])
def test_a_family_of_the_paper_preset(run, model, folder, family, latents):
    arguments = ("--preset", "paper", "--family", family, "--chunk", 128, "--latent", 7, "--epochs", 1, "--copies", 1)
    summary = run("compress", model, *arguments, "--json").json
    assert {name: type(summary[name]) for name in FIELDS} == FIELDS
    assert summary["preset"] == "paper"
    assert summary["latents"] == latents * -(-summary["weights"] // 128)
    assert summary["relative_mse"] < 0.05
    assert {"decoder", "latents", "residuals", "steps"} < set(summary["sections"])
    assert summary["file_bytes"] == sum(summary["sections"].values()) == (folder / "model.wz").stat().st_size
    assert (summary["latent_ratio"] is None) == (latents == 0)
    assert run("test", "model.wz").code == run("info", "model.wz").code == 0
    assert run("restore", "model.wz", "-o", "restored.pt").code == 0


def test_lossless(run, model, state):
    assert run("compress", model, "--lossless", "--json").json["max_abs_error"] == 0
    assert run("restore", "model.wz", "-o", "restored.pt").code == 0
    restored = torch.load("restored.pt", weights_only=True)
    assert all(torch.equal(restored[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("target", "field", "limit"),
    [("--ratio", "ratio", 15), ("--bpw", "bits_per_weight", 3), ("--max-error", "max_abs_error", 0.01)],
)
def test_targets_are_met(run, model, target, field, limit):
    summary = run("compress", model, target, limit, "--json").json
    assert summary[field] >= limit if field == "ratio" else summary[field] <= limit


def test_a_task_puts_its_metric_into_the_summary(run, model, task):
    arguments = ("compress", model, "--task", task, "-f")
    metric = run(*arguments, "--json").json["metric"]
    assert f"score: {metric['original']:.2f}% -> {metric['restored']:.2f}% (" in run(*arguments).out
    metric = run(*arguments, "--max-drop", 2, "--json").json["metric"]
    assert metric["name"] == "score, %"
    assert metric["original"] - metric["restored"] <= 2


@pytest.mark.parametrize("family", [[], ["--family", "heteroskedastic"]])
def test_the_same_seed_gives_the_same_file(run, model, folder, family):
    for name in ("first.wz", "second.wz"):
        arguments = ("--preset", "paper", *family, "--epochs", 1, "--copies", 2, "--seed", 7)
        assert run("compress", model, "-o", name, *arguments).code == 0
    assert (folder / "first.wz").read_bytes() == (folder / "second.wz").read_bytes()


def test_the_progress_bar_is_there_before_torch_is_imported(model):
    script = (
        "import sys; from weightzip.cli.compress import _source; from weightzip.cli.output import Output\n"
        f"with _source('{model}', None, Output(), force=False): sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_model_of_torchvision(run, monkeypatch, listing):
    monkeypatch.setattr("weightzip.remote.fetch.torchvision_model", lambda name: torch.nn.Linear(64, 8))
    summary = run("compress", "torchvision:tiny", "--json").json
    assert (summary["input"], summary["output"]) == ("torchvision:tiny", "tiny.wz")
    assert listing() == ["tiny.wz"]


def test_an_unknown_model_of_torchvision_is_one_line(run):
    result = run("compress", "torchvision:resnet1")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "resnet18" in result.err


def test_no_network_is_one_line(run, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setenv("TORCH_HOME", "nothing-here")
    result = run("compress", "torchvision:squeezenet1_1")
    assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1)
    assert "connect to the network" in result.err
