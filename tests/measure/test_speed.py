"""All codecs on one checkpoint, side by side: weightzip's own really run, the peers are stand-ins."""

import json

import pytest
import torch
from fake_peers import write_interpreter, write_peers

from weightzip import checkpoint as checkpoints
from weightzip.codec import LosslessCodec, encode
from weightzip.errors import CheckpointError
from weightzip.measure import speed
from weightzip.measure.conditions import model_weights
from weightzip.measure.environment import find_peers
from weightzip.measure.equal_error import decibels
from weightzip.measure.process import Measurement, Trial
from weightzip.measure.speed import measure_speed
from weightzip.progress import ProgressEvent

WEIGHTS = 64 * 48 + 64 + 1


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A training checkpoint: a model behind a prefix, with a tied weight and a counter, and twice as much of an optimizer."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 48, generator=generator)
    model = {"module.fc.weight": weight, "module.fc.bias": torch.randn(64, generator=generator), "module.tied": weight}
    model |= {"module.scale": torch.tensor(1.5), "module.steps": torch.arange(9)}
    model |= {"module.broken": torch.tensor([1.0, torch.nan])}
    moments = {0: {"exp_avg": torch.randn(64, 48, generator=generator), "exp_avg_sq": torch.randn(64, 48, generator=generator)}}
    path = tmp_path_factory.mktemp("source") / "training.pt"
    torch.save({"model": model, "optimizer": {"state": moments, "param_groups": [{"params": [0]}]}}, path)
    return path


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def benchmark(source, events, tmp_path_factory):
    """One real run for all tests that only look at it."""
    environment = find_peers(write_peers(tmp_path_factory.mktemp("environment")))
    return measure_speed([source], (12.0,), environment, 1, events.append)


@pytest.fixture(scope="module")
def rows(benchmark):
    return {row.codec: row for row in benchmark.checkpoints[0].rows}


def test_every_codec_has_its_row(benchmark, rows):
    (found,) = benchmark.checkpoints
    assert list(rows) == ["weightzip --lossless", "ZipNN", "zstd -19", "weightzip", "NNCodec"]
    assert (found.missing, found.failed) == ((), {})
    assert benchmark.machine.versions["NNCodec"] == "9.8.7"


def test_weightzip_is_measured_at_the_error_of_nncodec(rows):
    own, peer = rows["weightzip"], rows["NNCodec"]
    assert own.relative_mse == pytest.approx(peer.relative_mse, rel=0.0101)
    assert own.quality_db == peer.quality_db == 12.0
    assert abs(peer.snr_db - 12.0) < 1.0  # parameters are 1.5 dB apart
    assert own.relative_to_nncodec == own.bytes / peer.bytes
    assert peer.relative_to_nncodec == 1.0


def test_only_the_models_own_weights_are_measured(benchmark, rows):
    (found,) = benchmark.checkpoints
    assert (found.weights, found.input_bytes) == (WEIGHTS, 4 * WEIGHTS)
    for row in rows.values():
        assert row.bytes < 1.2 * found.input_bytes  # the optimizer alone is twice that
        assert row.ratio == found.input_bytes / row.bytes
        assert row.bits_per_weight == 8 * row.bytes / WEIGHTS


def test_what_is_measured_is_finite_and_stored_once(source):
    model = model_weights(source)
    assert list(model.tensors) == ["fc.weight", "fc.bias", "scale", "steps"]


def test_the_lossless_file_is_that_of_the_codec(source, rows):
    row = rows["weightzip --lossless"]
    size = len(encode(model_weights(source), LosslessCodec()).pack())
    assert abs(row.bytes - size) < 64  # but for the header's file name
    assert (row.relative_mse, row.quality_db, row.relative_to_nncodec) == (0.0, None, None)


def test_speeds_and_peaks_are_there(rows):
    for row in rows.values():
        assert row.encode_mb_s > 0 < row.decode_mb_s
        assert row.encode_peak_mb is None or 0 <= row.encode_peak_mb < 1000


def test_json(benchmark):
    data = json.loads(json.dumps(benchmark.to_json()))
    assert set(data) == {"machine", "date", "threads", "checkpoints"}
    (found,) = data["checkpoints"]
    assert {"input", "weights", "input_bytes", "rows", "missing"} <= set(found)
    own = found["rows"][3]
    assert own["snr_db"] == pytest.approx(decibels(own["relative_mse"]))
    assert {"codec", "quality_db", "bytes", "ratio", "bits_per_weight", "encode_mb_s", "decode_mb_s"} <= set(own)
    assert {"encode_peak_mb", "decode_peak_mb", "relative_to_nncodec"} <= set(own)


def test_progress_counts_the_steps(benchmark, events):
    assert benchmark.checkpoints
    assert {(event.stage, event.total) for event in events} == {("training.pt", 7)}
    done = [event.done for event in events]
    assert (done[0], done[-1]) == (0, 6)
    assert done == sorted(done)
    assert any("quantisation parameter" in event.detail for event in events)


class Quadratic:
    """Stands for weightzip's processes: an error of step squared over 12, and a file that shrinks with it."""

    def __init__(self, *arguments):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def attempt(self, step):
        return Trial(int(1000 / step), step**2 / 12)

    def measure(self, step):
        trial = self.attempt(step or 1e-3)
        return Measurement(trial.num_bytes, trial.relative_mse, 2.0, 0.5, 3_000_000, None)


@pytest.fixture
def own_is_quick(monkeypatch):
    monkeypatch.setattr(speed, "own_worker", Quadratic)


@pytest.mark.usefixtures("own_is_quick")
def test_without_nncodec_weightzip_is_measured_at_what_was_asked_for(source, tmp_path):
    environment = find_peers(write_interpreter(tmp_path, tmp_path / "empty"))
    (found,) = measure_speed([source], (13.0, 20.0), environment, 1).checkpoints
    assert [(row.codec, row.quality_db) for row in found.rows[2:]] == [("weightzip", 13.0), ("weightzip", 20.0)]
    assert [row.snr_db for row in found.rows[2:]] == pytest.approx([13.0, 20.0], abs=0.05)
    assert {row.relative_to_nncodec for row in found.rows} == {None}
    assert found.missing == ("NNCodec", "ZipNN")


@pytest.mark.usefixtures("own_is_quick")
def test_units(source, tmp_path):
    environment = find_peers(write_interpreter(tmp_path, tmp_path / "empty"))
    row = measure_speed([source], (13.0,), environment, 1).checkpoints[0].rows[-1]
    assert row.encode_mb_s == pytest.approx(4 * WEIGHTS / 2.0 / 1e6)
    assert row.decode_mb_s == pytest.approx(4 * WEIGHTS / 0.5 / 1e6)
    assert (row.encode_peak_mb, row.decode_peak_mb) == (3.0, None)


@pytest.mark.usefixtures("own_is_quick")
def test_peers_that_fail_are_left_out_and_the_others_go_on(source, tmp_path):
    environment = find_peers(write_peers(tmp_path, before="raise OSError('no licence')", restored="bytes(4)"))
    (found,) = measure_speed([source], (13.0, 20.0), environment, 1).checkpoints
    assert [row.codec for row in found.rows] == ["weightzip --lossless", "zstd -19", "weightzip", "weightzip"]
    assert found.failed["NNCodec"] == "NNCodec: OSError: no licence"
    assert found.failed["ZipNN"].startswith("ZipNN: ValueError: ")


@pytest.mark.usefixtures("own_is_quick")
def test_half_precision_counts_as_what_it_takes(tmp_path):
    path = tmp_path / "half.pt"
    torch.save({"weight": torch.randn(100, 10).half()}, path)
    (found,) = measure_speed([path], (20.0,), find_peers(write_peers(tmp_path)), 1).checkpoints
    assert (found.weights, found.input_bytes) == (1000, 2000)
    zipnn = next(row for row in found.rows if row.codec == "ZipNN")
    assert 0.8 < zipnn.ratio < 1.3


@pytest.mark.parametrize("content", [{"steps": torch.arange(3)}, {"empty": torch.zeros(0)}, {"bad": torch.tensor([torch.inf])}])
def test_a_checkpoint_without_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="no floating-point weights"):
        model_weights(tmp_path / "model.pt")


def test_all_checkpoints_are_looked_at_before_any_is_measured(source, tmp_path):
    events: list[ProgressEvent] = []
    environment = find_peers(write_interpreter(tmp_path, tmp_path / "empty"))
    with pytest.raises(CheckpointError, match="no such file"):
        measure_speed([source, tmp_path / "missing.pt"], (13.0,), environment, 1, events.append)
    assert events == []


def test_a_flat_file_keeps_its_names(tmp_path):
    state = {"b": torch.randn(3, 2), "a": torch.randn(4)}
    torch.save(state, tmp_path / "model.pt")
    assert (
        list(model_weights(tmp_path / "model.pt").tensors)
        == list(checkpoints.read(tmp_path / "model.pt").tensors)
        == ["b", "a"]
    )
