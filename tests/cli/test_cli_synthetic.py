import json

import pytest

from weightzip.cli.synthetic import _DTYPES
from weightzip.measure import footprint
from weightzip.measure.footprint import Footprint, Run
from weightzip.measure.synthetic import DTYPES
from weightzip.results import Machine

COMPRESS = Run("compress", 12.25, 81.6, 1650.0, 950.5, 100_000_000)
RESTORE = Run("restore after compress", 8.0, 125.0, None, None, 100_000_000)


@pytest.fixture
def asked(monkeypatch):
    """What the measurement is asked for; it answers at once."""
    asked = []

    def measure(model, folder, *, lossless, threads, progress):
        asked.append((model, folder, lossless, threads))
        machine = Machine("a machine", {})
        return Footprint(
            machine, "2020-01-01T00:00:00+00:00", threads, model, 65, 10**9, 4 * 10**9, 10**8, 699.5, (COMPRESS, RESTORE)
        )

    monkeypatch.setattr(footprint, "measure_footprint", measure)
    return asked


def test_options_reach_the_measurement(run, asked, folder):
    options = ("--largest", "10MiB", "--dtype", "bfloat16", "--seed", 7, "--threads", 2, "--folder", folder, "--lossless")
    assert run("bench", "--synthetic", "1.5GB", *options, "-q").out == ""
    ((model, where, lossless, threads),) = asked
    assert (model.num_bytes, model.largest, model.dtype, model.seed) == (1_500_000_000, 10 * 2**20, "bfloat16", 7)
    assert (where, lossless, threads) == (folder, True, 2)


def test_by_default_float32_and_one_thread(run, asked):
    run("bench", "--synthetic", "4GB")
    ((model, where, lossless, threads),) = asked
    assert (model.num_bytes, model.largest, model.dtype, model.seed) == (4 * 10**9, 250_000_000, "float32", 0)
    assert (where, lossless, threads) == (None, False, 1)


@pytest.mark.usefixtures("asked")
def test_the_table_has_a_line_for_each_command(run):
    result = run("bench", "--synthetic", "4GB")
    assert (result.code, result.err) == (0, "")
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert lines[0] == "synthetic: 65 tensors of float32, 4,000,000,000 bytes; 1 thread"
    assert "compress 12.2 81.6 40.0x 1,650.0 950.5 150" in lines
    assert "restore after compress 8.0 125.0 40.0x - - -" in lines
    assert lines[-2:] == [
        "bound: 6 x 100.0 MB (the largest tensor as float32) + 500 MB = 1,100.0 MB",
        "imports alone: 699.5 MB",
    ]


@pytest.mark.usefixtures("asked")
def test_json_is_one_object(run):
    data = json.loads(run("bench", "--synthetic", "4GB", "--json").out)
    assert (data["bound_mb"], data["imports_mb"], data["largest_float32_bytes"]) == (1100, 699.5, 10**8)
    assert data["model"]["num_bytes"] == 4 * 10**9
    compress, restore = data["runs"]
    assert (compress["within_bound"], compress["beyond_imports_within_bound"]) == (False, True)
    assert (restore["peak_mb"], restore["within_bound"]) == (None, None)


@pytest.mark.parametrize("options", [["--largest", "1MB"], ["--dtype", "float32"], ["--folder", "."]])
def test_what_is_only_for_synthetic_checkpoints(run, model, asked, options):
    result = run("bench", model, *options)
    assert (result.code, result.out, asked) == (2, "", [])
    assert result.err.splitlines()[0] == f"error: {options[0]} needs --synthetic SIZE"


@pytest.mark.parametrize("options", [["model.pt"], ["--snr", "13"], ["--peers", "."]])
def test_what_is_not_for_synthetic_checkpoints(run, model, asked, options):
    result = run("bench", "--synthetic", "1GB", *options)
    assert (result.code, result.out, asked) == (2, "", [])
    named = "CHECKPOINT" if options[0] == "model.pt" else options[0]
    assert result.err.startswith(f"error: {named} does not go with --synthetic")


@pytest.mark.parametrize("options", [["much"], ["1kB"], ["1GB", "--largest", "2GB"], ["1GB", "--dtype", "float64"]])
def test_values_that_make_no_sense_are_usage_errors(run, asked, options):
    result = run("bench", "--synthetic", *options)
    assert (result.code, result.out, asked) == (2, "", [])


def test_dtypes_are_those_that_can_be_made():
    assert _DTYPES == DTYPES
