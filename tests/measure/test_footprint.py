import shutil
from pathlib import Path

import pytest

from weightzip.errors import MeasurementError, OutputError
from weightzip.measure import footprint
from weightzip.measure.footprint import measure_footprint
from weightzip.measure.synthetic import SINGLE, SyntheticModel, tensor_shapes
from weightzip.measure.watch import Watched

MODEL = SyntheticModel(400_000, shard_bytes=150_000)


class Program:
    """Stands in for processes of weightzip: it copies. spoil: what it does to what it restores."""

    def __init__(self, peaks: dict[str, int | None]) -> None:
        self.peaks, self.commands = peaks, []
        self.spoil = lambda path: None

    def __call__(self, name, command, environment):
        _, kind, what, *arguments = command
        verb = arguments[0] if kind == "-m" else "import"
        if verb == "compress":
            assert what == "weightzip"
            self.source = Path(arguments[1])
            Path(arguments[3]).write_bytes(b"packed")
        elif verb == "restore":
            assert Path(arguments[1]).read_bytes() == b"packed"
            self.spoil(Path(shutil.copytree(self.source, arguments[3])))
        self.commands.append([Path(argument).name for argument in arguments])
        return Watched(2.0, self.peaks[verb])


@pytest.fixture
def program(monkeypatch):
    program = Program({"import": 300_000_000, "compress": 700_000_000, "restore": 810_000_000})
    monkeypatch.setattr(footprint, "watch", program)
    return program


def test_commands_are_those_of_a_user(program, tmp_path):
    measure_footprint(MODEL, tmp_path, lossless=True, threads=2)
    tail = ["--threads", "2", "--quiet"]
    assert program.commands == [
        [],
        ["compress", "model", "-o", "model.wz", *tail],
        ["restore", "model.wz", "-o", "restored", *tail],
        ["compress", "model", "-o", "model.wz", "--lossless", *tail],
        ["restore", "model.wz", "-o", "restored", *tail],
    ]
    assert list(tmp_path.iterdir()) == []


def test_figures(program, tmp_path):
    found = measure_footprint(MODEL, tmp_path, lossless=False, threads=1)
    shapes = tensor_shapes(MODEL)
    largest = 4 * shapes["model.embed_tokens.weight"][0] * shapes["model.embed_tokens.weight"][1]
    assert found.largest_float32_bytes == largest
    assert found.bound_mb == pytest.approx(6 * largest / 1e6 + 500)
    assert found.imports_mb == 300
    compress, restore = found.runs
    assert (compress.command, compress.seconds, compress.peak_mb, compress.beyond_imports_mb) == ("compress", 2, 700, 400)
    assert (restore.command, restore.peak_mb, restore.beyond_imports_mb) == ("restore after compress", 810, 510)
    assert compress.mb_s == pytest.approx(4 * found.weights / 1e6 / 2)
    assert compress.file_bytes == restore.file_bytes == 6


def test_the_bound_is_of_float32_whatever_the_dtype(program, tmp_path):
    model = SyntheticModel(400_000, None, "bfloat16", shard_bytes=150_000)
    found = measure_footprint(model, tmp_path, lossless=False, threads=1)
    assert (model.largest, found.input_bytes // found.weights) == (25_000, 2)
    assert 0.9 * 50_000 < found.largest_float32_bytes <= 50_000


def test_both_peaks_are_held_against_the_bound(program, tmp_path):
    data = measure_footprint(MODEL, tmp_path, lossless=False, threads=1).to_json()
    verdicts = [(run["within_bound"], run["beyond_imports_within_bound"]) for run in data["runs"]]
    assert verdicts == [(False, True), (False, False)]
    assert data["bound_mb"] > 500
    assert data["model"]["largest_bytes"] == 25_000


def test_systems_that_do_not_say(program, tmp_path):
    program.peaks = dict.fromkeys(program.peaks)
    found = measure_footprint(MODEL, tmp_path, lossless=False, threads=1)
    assert {(run.peak_mb, run.beyond_imports_mb) for run in found.runs} == {(None, None)}
    assert found.to_json()["runs"][0]["within_bound"] is None


def flip(path: Path) -> None:
    shard = max(path.glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)


def lose(path: Path) -> None:
    max(path.glob("*.safetensors")).unlink()


def test_lost_tensors_are_an_error(program, tmp_path):
    program.spoil = lose
    with pytest.raises(MeasurementError, match="was not restored"):
        measure_footprint(MODEL, tmp_path, lossless=False, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_other_bits_are_an_error_of_lossless_only(program, tmp_path):
    program.spoil = flip
    measure_footprint(MODEL, tmp_path, lossless=False, threads=1)
    with pytest.raises(MeasurementError, match="did not come back bit by bit"):
        measure_footprint(MODEL, tmp_path, lossless=True, threads=1)


def test_room_for_all_is_needed_at_once(program, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_100_000})())
    with pytest.raises(OutputError, match="only 1,100,000 are free"):
        measure_footprint(MODEL, tmp_path, lossless=False, threads=1)
    assert program.commands == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"nowhere: cannot be written: No such file or directory"):
        measure_footprint(MODEL, tmp_path / "nowhere", lossless=False, threads=1)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(
    "model", [SyntheticModel(400_000), SyntheticModel(400_000, None, "bfloat16", 1, 150_000)], ids=[SINGLE, "shards"]
)
def test_the_real_program(model, tmp_path):
    found = measure_footprint(model, tmp_path, lossless=True, threads=1)
    lossy, _, lossless, _ = found.runs
    assert lossy.file_bytes < 0.5 * lossless.file_bytes < 0.5 * found.input_bytes
    for run in found.runs:
        assert run.peak_mb >= found.imports_mb * 0.9
    assert list(tmp_path.iterdir()) == []
