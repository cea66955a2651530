"""The kinds of measurement that `weightzip bench` makes, and what does not go together."""

from pathlib import Path

import pytest


@pytest.fixture
def asked(monkeypatch):
    """Kinds that were measured, without measuring."""
    kinds = []
    for name in ("bench_families", "bench_scan", "bench_suite", "fill_tables"):
        monkeypatch.setattr(f"weightzip.cli.bench.{name}", lambda *args, name=name, **kwargs: kinds.append((name, kwargs)))
    return kinds


def test_families(run, asked):
    assert run("bench", "--families", "--quick", "--seed", "3").code == 0
    assert asked == [("bench_families", {"seed": 3, "quick": True, "output": None})]


def test_scan(run, model, asked):
    assert run("bench", "--scan", model, "--threads", "2").code == 0
    assert asked == [("bench_scan", {"seed": 0, "threads": 2})]


def test_suite(run, asked):
    assert (
        run("bench", "--suite", "model.pt", "--quick", "--models", "mnist-rnn", "-o", "out", "-f", "--peers", "env").code == 0
    )
    ((name, options),) = asked
    assert name == "bench_suite"
    assert (options["folder"], options["peers"]) == (Path("out"), Path("env"))
    assert (options["models"], options["quick"], options["force"]) == (("mnist-rnn",), True, True)


def test_tables_of_the_suite(run, asked):
    assert run("bench", "--suite", "--table", "README.md").code == 0
    assert [name for name, _ in asked] == ["fill_tables"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--families", "--scan"], "--families and --scan do not go together"),
        (["--synthetic", "1GB", "--families"], "--synthetic SIZE and --families do not go together"),
        (["--families", "--snr", "13"], "--snr does not go with --families"),
        (["--families", "--lossless"], "--lossless does not go with --families"),
        (["--families", "model.pt"], "CHECKPOINT does not go with --families"),
        (["--scan", "model.pt", "--quick"], "--quick does not go with --scan"),
        (["model.pt", "--quick"], "--quick needs --families or --suite"),
        (["model.pt", "-o", "out"], "-o needs --suite"),
        (["model.pt", "--models", "mnist-rnn"], "--models needs --suite"),
        (["--families", "-f"], "-f does not go with --families"),
        (["--suite", "--lossless"], "--lossless does not go with --suite"),
        (["--suite", "--scan"], "--scan and --suite do not go together"),
        (["model.pt", "--seed", "1"], "--seed needs --synthetic SIZE, --families, --scan or --suite"),
    ],
)
def test_what_does_not_go_together(run, asked, options, message):
    result = run("bench", *options)
    assert (result.code, result.out, asked) == (2, "", [])
    assert result.err.startswith(f"error: {message}")


@pytest.mark.parametrize("options", [[], ["--scan"]])
def test_without_checkpoints(run, asked, options):
    result = run("bench", *options)
    assert (result.code, asked) == (2, [])
    assert "CHECKPOINT" in result.err
