import dataclasses

import pytest

from weightzip.cli.vae_options import VAE_OPTIONS, vae_settings
from weightzip.vae import VAESettings


def test_the_settings_are_those_of_the_dataclass():
    fields = {field.name: field for field in dataclasses.fields(VAESettings)}
    assert ["family", *(option.name for option in VAE_OPTIONS), "seed"] == list(fields)
    assert {option.name: option.default for option in VAE_OPTIONS} == {
        name: field.default for name, field in fields.items() if name not in ("family", "seed")
    }


def test_the_settings_have_the_kinds_of_the_dataclass():
    kinds = {field.name: str(field.type).split(" ")[0] for field in dataclasses.fields(VAESettings)}
    assert all(option.kind.__name__ == kinds[option.name] for option in VAE_OPTIONS)


def test_settings_reach_the_codec(run, model):
    arguments = ("--preset", "paper", "--latent", 8, "--chunk", 256, "--epochs", 1, "--copies", 2, "--validation-copies", 1)
    summary = run("compress", model, *arguments, "--json").json
    assert summary["latents"] == 8 * -(-summary["weights"] // 256)


@pytest.mark.parametrize("option", VAE_OPTIONS, ids=lambda option: option.name)
def test_a_setting_without_the_paper_preset_is_a_usage_error(run, model, listing, option):
    result = run("compress", model, option.flag, 1)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"error: {option.flag}: only for the paper preset; add --preset paper\n"
    assert listing() == ["model.pt"]


def test_a_family_without_the_paper_preset_is_a_usage_error(run, model, listing):
    result = run("compress", model, "--family", "causal", "--latent", 1)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: --family, --latent: only for the paper preset; add --preset paper\n"
    assert listing() == ["model.pt"]


def test_a_family_that_is_misspelt_suggests_the_close_one(run, model, listing):
    result = run("compress", model, "--preset", "paper", "--family", "labeled")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: unknown family 'labeled'; did you mean labelled? use one of dense, ")
    assert listing() == ["model.pt"]


@pytest.mark.parametrize(
    "more", [["--ratio", 10], ["--bpw", 2], ["--max-error", 0.1], ["--lossless"], ["--adapt", "calibrate"]]
)
def test_a_family_goes_with_no_target(run, model, listing, more):
    result = run("compress", model, "--preset", "paper", "--family", "heteroskedastic", *more)
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert listing() == ["model.pt"]


def test_settings_that_are_not_given_are_those_of_the_family():
    assert vae_settings("auto", None, {"chunk": None}) is None
    assert vae_settings("paper", "causal", {"chunk": None, "epochs": 3}) == VAESettings.of("causal", epochs=3)
    assert vae_settings("paper", None, {"epochs": 3}) == VAESettings(epochs=3)
    assert vae_settings("paper", "dense", {}) == VAESettings()


def test_a_network_too_large_is_a_usage_error(run, model):
    result = run("compress", model, "--preset", "paper", "--family", "heteroskedastic", "--chunk", 10_000)
    assert result.code == 2
    assert "--chunk, --latent or --hidden is too large" in result.err


def test_an_impossible_setting_is_a_usage_error(run, model):
    result = run("compress", model, "--preset", "paper", "--latent", 0)
    assert (result.code, len(result.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("text", ["9640", "9640B", "9.64kB", "10kb", "10 KiB", "2GB", "1.5GiB", "3T"])
def test_a_memory_cap_that_is_large_enough(run, packed, text):
    assert run("restore", packed, "-o", "restored.pt", "--memory", text).code == 0


@pytest.mark.parametrize("text", ["9639", "9.6kB", "9KiB", "0"])
def test_a_memory_cap_that_is_too_small(run, packed, listing, text):
    result = run("restore", packed, "-o", "restored.pt", "--memory", text)
    assert (result.code, result.out) == (4, "")
    assert "9,640 bytes" in result.err
    assert "restored.pt" not in listing()


@pytest.mark.parametrize("text", ["", "much", "-1", "1e9", "2XB", "inf", "1.GB"])
def test_a_memory_cap_that_is_none(run, packed, text):
    result = run("restore", packed, f"--memory={text}")
    assert result.code == 2
    assert "500MB" in result.err


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--threads", "0"], ["--device", "tpu"], ["--adapt", "finetune"]])
def test_values_that_are_not_offered(run, model, arguments):
    result = run("compress", model, *arguments)
    assert (result.code, result.out) == (2, "")
    assert arguments[0] in result.err
