"""Other codecs, in an environment and in processes of their own."""

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_peers import write_interpreter, write_peers
from safetensors.torch import save_file

from weightzip.errors import MeasurementError, UsageError
from weightzip.measure import peers
from weightzip.measure.conditions import Conditions, prepare
from weightzip.measure.environment import find_peers
from weightzip.measure.peers import memory
from weightzip.measure.peers.tensors import read_floats
from weightzip.measure.process import peer_worker


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    weights = {"fc.weight": torch.randn(50, 40, generator=generator), "fc.bias": torch.randn(50, generator=generator)}
    odd = {"scale": torch.tensor(1.5), "none": torch.zeros(0, 3), "steps": torch.tensor(7)}
    halves = {"half": torch.randn(30, generator=generator).half(), "bf16": torch.randn(5, 6, generator=generator).bfloat16()}
    return weights | odd | halves


@pytest.fixture
def given(state, tmp_path):
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "scratch").mkdir()
    return prepare(tmp_path / "model.safetensors", tmp_path / "scratch", 1)


def ask(interpreter: Path, given: Conditions, module: str = "nncodec", setting: float | None = -8):
    with peer_worker(interpreter, module, "a peer", given) as worker:
        return worker.measure(setting)


def test_peers_are_found_with_their_versions(tmp_path):
    interpreter = write_peers(tmp_path / "environment")
    for where in (interpreter, tmp_path / "environment"):
        found = find_peers(where)
        assert found.versions == {"NNCodec": "9.8.7", "ZipNN": "unknown"}
        assert (found.missing, found.interpreter) == ([], interpreter)


def test_peers_that_are_not_installed_are_missing(tmp_path, monkeypatch):
    (tmp_path / "nncodec").mkdir()  # no more than a folder of that name
    monkeypatch.chdir(tmp_path)
    found = find_peers(write_interpreter(tmp_path / "environment", tmp_path / "empty"))
    assert (found.versions, found.missing) == ({}, ["NNCodec", "ZipNN"])


def test_without_a_name_it_is_this_interpreter():
    assert str(find_peers(None).interpreter) == sys.executable


@pytest.mark.parametrize("name", ["missing", "folder", "text", "program"])
def test_what_is_no_python_is_a_usage_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no program")
    (tmp_path / "program").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "program").chmod(0o755)
    with pytest.raises(UsageError, match=f"--peers .*{name}"):
        find_peers(tmp_path / name)


def test_error_and_size_are_those_of_what_nncodec_makes(state, given, tmp_path):
    found = ask(write_peers(tmp_path / "environment"), given)
    values = np.concatenate([tensor.float().numpy().ravel() for name, tensor in state.items() if name != "steps"])
    restored = np.rint(values * 4) / 4  # parameter -8
    assert found.relative_mse == pytest.approx(np.square(restored - values).sum() / np.square(values).sum())
    assert 0 < found.num_bytes < 4 * len(values)
    assert found.encode_seconds > 0 < found.decode_seconds


def test_a_parameter_is_tried_without_a_clock(given, tmp_path):
    interpreter = write_peers(tmp_path / "environment")
    with peer_worker(interpreter, "nncodec", "NNCodec", given) as worker:
        errors = [worker.attempt(setting).relative_mse for setting in (-20, -8, 0)]
    assert errors == sorted(errors)
    assert errors[1] == ask(interpreter, given).relative_mse


def test_zipnn_is_given_its_input_anew_each_time(given, tmp_path):
    """It overwrites the buffer that it compresses; a second repetition would measure zeros."""
    interpreter = write_peers(tmp_path / "environment")
    found = ask(interpreter, given, "zipnn", None)
    assert found.relative_mse == 0
    assert given.input_bytes == 4 * (2000 + 50 + 1) + 2 * (30 + 30)
    assert 0.8 * given.input_bytes < found.num_bytes < 1.1 * given.input_bytes  # noise, unlike zeros, stays as large


def test_a_lossless_codec_that_loses_something_fails(given, tmp_path):
    interpreter = write_peers(tmp_path / "environment", restored="bytes(8)")
    with pytest.raises(MeasurementError, match="a peer: ValueError: ZipNN did not give back what it was given"):
        ask(interpreter, given, "zipnn", None)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"before": "raise IndexError('tuple index\\nout of range')"}, "a peer: IndexError: tuple index out of range"),
        ({"before": "import os; os._exit(3)"}, "a peer: its process ended with code 3: noise"),
        ({"before": "import sys; sys.exit('no licence')"}, "a peer: its process ended with code 1: no licence"),
        ({"after": "del model['fc.bias']"}, "a peer: KeyError: 'fc.bias'"),
        ({"after": "model['fc.bias'] = model['fc.bias'] * np.nan"}, "a peer: ValueError: what it restores is not finite"),
    ],
    ids=["raises", "dies", "exits", "forgets", "spoils"],
)
def test_a_peer_that_fails_is_told_in_one_line(given, tmp_path, fault, told):
    only_large = {key: f"\n    if model['fc.weight'].shape == (50, 40):\n        {line}" for key, line in fault.items()}
    with pytest.raises(MeasurementError) as caught:
        ask(write_peers(tmp_path / "environment", **only_large), given)
    assert str(caught.value) == told


def test_a_peer_that_cannot_even_warm_up_is_told_too(given, tmp_path):
    with pytest.raises(MeasurementError, match="a peer: ModuleNotFoundError: No module named 'zipnn'"):
        ask(write_interpreter(tmp_path / "environment", tmp_path / "empty"), given, "zipnn")


def test_the_process_is_gone_when_nobody_listens_any_more(given, tmp_path):
    interpreter = write_peers(tmp_path, before=f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))")
    with contextlib.suppress(KeyboardInterrupt), peer_worker(interpreter, "nncodec", "NNCodec", given):
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)  # signal 0 only asks whether it is there
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
def test_libraries_are_told_the_number_of_threads(given, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "7")
    fault = f"raise ValueError('threads: ' + __import__('os').environ[{variable!r}])"
    with pytest.raises(MeasurementError, match="threads: 1"):
        ask(write_peers(tmp_path / "environment", before=fault), given)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_peaks_of_encoding_and_decoding_are_told_apart(given, tmp_path):
    interpreter = write_peers(tmp_path / "environment", before="b'x' * (64 << 20)", after="b'x' * (24 << 20)")
    found = ask(interpreter, given)
    assert found.encode_peak is not None
    assert found.decode_peak is not None
    assert 63 << 20 <= found.encode_peak < 80 << 20
    assert 23 << 20 <= found.decode_peak < 40 << 20


# The file is run as it is, since importing it from its package would import torch.
_MEASURED = """
import runpy, sys
PeakMemory = runpy.run_path(sys.argv[1])["PeakMemory"]
before = b"x" * (32 << 20)
memory = PeakMemory()
after = b"y" * (16 << 20)
print(memory.peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_memory_in_use_before_does_not_count():
    """In a new process, as a system may take pages away from an old one at any time."""
    done = subprocess.run([sys.executable, "-c", _MEASURED, memory.__file__], capture_output=True, text=True, check=True)
    assert 15 << 20 <= int(done.stdout) < 24 << 20  # the system counts in batches of pages


def test_floats_are_read_as_they_were_written(state, given):
    read = read_floats(str(given.weights))
    assert set(read) == set(state) - {"steps"}
    for name, stored in read.items():
        assert stored.float32().shape == tuple(state[name].shape)
        assert np.array_equal(stored.float32(), state[name].float().numpy())
        assert len(stored.data) == state[name].nbytes


def test_what_peers_interpreters_run_needs_nothing_of_weightzip():
    taken_for_granted = sys.stdlib_module_names | {"numpy", "torch", "nncodec", "zipnn"}
    for path in Path(peers.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= taken_for_granted
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None
                assert node.module.split(".")[0] in taken_for_granted
