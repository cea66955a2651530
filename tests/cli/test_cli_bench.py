import json
import os
from dataclasses import replace

import pytest
from fake_peers import write_peers

from weightzip.measure import speed
from weightzip.measure.rows import Benchmark, Row, SideBySide
from weightzip.results import Machine

EXACT = Row("zstd -19", None, 0.0, 9000, 1.07, 29.9, 30.0, 800.0, 1.5, None, None)
OWN = Row("weightzip", 13.0, 0.05, 600, 16.07, 1.99, 12.5, 50.25, 11.0, 7.0, 0.96)
PEER = Row("NNCodec", 13.0, 0.0502, 625, 15.42, 2.07, 10.0, 60.0, 7.0, 1.0, 1.0)


@pytest.fixture
def asked(monkeypatch):
    """What the measurement is asked for; it answers at once."""
    asked = []

    def measure(sources, snrs, environment, threads, progress):
        asked.append((sources, snrs, environment.versions, threads))
        missing, failed = tuple(environment.missing), {"ZipNN": "ZipNN: ValueError: lost"} if environment.versions else {}
        found = [SideBySide(str(path), 2410, 9640, (EXACT, OWN, PEER), missing, failed) for path in sources]
        return Benchmark(Machine("a machine", {}), "2020-01-01T00:00:00+00:00", threads, tuple(found))

    monkeypatch.setattr(speed, "measure_speed", measure)
    return asked


@pytest.fixture
def peers(folder):
    return write_peers(folder / "peers")


@pytest.mark.usefixtures("asked")
def test_the_table_has_a_line_for_each_codec(run, model, peers):
    result = run("bench", model, "--peers", peers)
    assert result.code == 0
    title, *lines = [line.split() for line in result.out.splitlines() if line.strip()]
    assert " ".join(title) == "model.pt: 2,410 weights, 9,640 bytes; 1 thread"
    assert ["zstd", "-19", "exact", "9,000", "1.07x", "29.90", "30.0", "800.0", "1.5", "-", "-"] in lines
    assert ["weightzip", "13.01", "600", "16.1x", "1.99", "12.5", "50.2", "11.0", "7.0", "0.960"] in lines
    assert ["NNCodec", "12.99", "625", "15.4x", "2.07", "10.0", "60.0", "7.0", "1.0", "1.000"] in lines
    assert result.err == "model.pt: left out: ZipNN: ValueError: lost\n"


@pytest.mark.usefixtures("asked")
def test_json_is_one_object(run, model, peers):
    data = run("bench", model, model, "--peers", peers, "--json").json
    first, second = data["checkpoints"]
    assert first == second
    assert (first["input"], first["weights"], first["missing"]) == ("model.pt", 2410, [])
    assert first["failed"] == {"ZipNN": "ZipNN: ValueError: lost"}
    exact, own, _ = first["rows"]
    assert (exact["snr_db"], exact["quality_db"], exact["decode_peak_mb"]) == (None, None, None)
    assert own["snr_db"] == pytest.approx(13.01, abs=0.01)
    assert own["relative_to_nncodec"] == 0.96


def test_options_reach_the_measurement(run, model, peers, asked):
    assert run("bench", model, "--peers", peers, "--snr", 15, "--snr", 8.5, "--threads", 2, "-q").code == 0
    ((sources, snrs, versions, threads),) = asked
    assert ([str(source) for source in sources], snrs, threads) == (["model.pt"], (15.0, 8.5), 2)
    assert versions == {"NNCodec": "9.8.7", "ZipNN": "unknown"}


def test_by_default_two_qualities_and_one_thread(run, model, peers, asked):
    run("bench", model, "--peers", "peers")
    assert [call[1:] for call in asked] == [((13.0, 20.0), {"NNCodec": "9.8.7", "ZipNN": "unknown"}, 1)]


def test_lossless_codecs_alone(run, model, peers, asked):
    assert run("bench", model, "--peers", "peers", "--lossless").code == 0
    assert [snrs for _, snrs, _, _ in asked] == [()]


def test_a_quality_of_lossless_codecs_is_a_usage_error(run, model, peers, asked):
    result = run("bench", model, "--lossless", "--snr", "13")
    assert (result.code, result.out, asked) == (2, "", [])
    assert result.err.startswith("error: --snr does not go with --lossless")


@pytest.mark.usefixtures("asked")
def test_missing_peers_are_named_and_no_error(run, model, folder, peers):
    (folder / "peers" / "lib" / "zipnn.py").unlink()
    result = run("bench", model, "--peers", "peers", "--json")
    assert result.code == 0
    assert json.loads(result.out)["checkpoints"][0]["missing"] == ["ZipNN"]
    assert "ZipNN" in result.err.splitlines()[0]
    assert "NNCodec" not in result.err.splitlines()[0]
    assert run("bench", model, "--peers", "peers", "-q").err == ""


def test_a_quality_that_is_out_of_reach_is_told_once(run, model, peers, monkeypatch):
    rows = [replace(row, relative_mse=7e-5) for row in (OWN, PEER)]
    found = SideBySide("model.pt", 2410, 9640, (EXACT, *rows), (), {})
    benchmark = Benchmark(Machine("a machine", {}), "2020-01-01T00:00:00+00:00", 1, (found,))
    monkeypatch.setattr(speed, "measure_speed", lambda *arguments: benchmark)
    result = run("bench", model, "--peers", peers)
    assert result.err == "model.pt: NNCodec comes no nearer to 13 dB than 41.55 dB; choose another --snr\n"


@pytest.mark.parametrize("arguments", [["--peers", "nowhere/python"], ["--snr", "0"], ["--snr", "nan"], ["--threads", "0"]])
def test_values_that_make_no_sense_are_usage_errors(run, model, asked, arguments):
    result = run("bench", model, *arguments)
    assert (result.code, result.out, asked) == (2, "", [])
    assert arguments[0] in result.err


def test_a_checkpoint_is_needed(run):
    assert run("bench").code == 2


def test_a_missing_checkpoint(run, peers):
    result = run("bench", "missing.pt", "--peers", peers)
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: missing.pt: no such file; check the name\n"


@pytest.mark.slow
@pytest.mark.ci
def test_nothing_is_left_behind(run_alone, model, peers, listing, folder):
    """And the real thing runs from the command line, in a folder of its own."""
    (folder / "scratch").mkdir()
    result = run_alone(
        "bench", model, "--peers", peers, "--snr", 10, "--json", env=os.environ | {"TMPDIR": str(folder / "scratch")}
    )
    assert result.code == 0, result.err
    rows = {row["codec"]: row for row in result.json["checkpoints"][0]["rows"]}
    assert rows["weightzip"]["relative_mse"] == pytest.approx(rows["NNCodec"]["relative_mse"], rel=0.0101)
    assert listing() == ["model.pt", "peers", "scratch"]
    assert list((folder / "scratch").iterdir()) == []
