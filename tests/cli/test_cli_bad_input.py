"""What the issue promises for bad input: one clear line, the right exit code, nothing left behind, the source untouched."""

import errno
import os
import pickle
import resource
import subprocess
from pathlib import Path

import pytest
import torch


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def check_refused(result, code, *words):
    assert result.code == code
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("error: ")
    assert "internal error" not in result.err
    for word in words:
        assert word in result.err


@pytest.mark.parametrize("command", [["compress"], ["restore"], ["info"], ["test"], ["zoo", "eval", "mnist-fnn"]], ids=" ".join)
def test_a_missing_file(run, listing, command):
    check_refused(run(*command, "missing.pt"), 1, "missing.pt")
    assert listing() == []


def test_a_missing_file_to_report_on(run, listing, task):
    check_refused(run("report", "missing.pt", "--task", task, "-o", "out"), 1, "missing.pt")
    assert "out" not in listing()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("text.pt", b"no checkpoint at all\n", 1),
        ("zeros.bin", bytes(1000), 1),
        ("empty.pt", b"", 3),
        ("empty.safetensors", b"", 3),
    ],
)
def test_what_is_no_checkpoint(run, folder, listing, name, content, code):
    (folder / name).write_bytes(content)
    check_refused(run("compress", name), code, name)
    assert listing() == [name]
    assert (folder / name).read_bytes() == content


def test_a_truncated_checkpoint(run, model, folder, listing):
    model.write_bytes(model.read_bytes()[:5000])
    check_refused(run("compress", model), 3, "model.pt")
    assert listing() == ["model.pt"]


def test_a_pickle_that_needs_code_to_run_is_refused_and_not_run(run, listing):
    torch.save({"weight": torch.zeros(3), "evil": Evil()}, "evil.pt")
    check_refused(run("compress", "evil.pt"), 4, "evil.pt")
    Path("plain.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    assert run("compress", "plain.pt").code in (1, 4)
    assert listing() == ["evil.pt", "plain.pt"]


def test_any_changed_byte_is_found(run, packed, folder, listing):
    data = packed.read_bytes()
    before = listing()
    for position in range(0, len(data), 11):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        packed.write_bytes(changed)
        check_refused(run("test", packed), 3, "model.wz")
        check_refused(run("restore", packed, "-o", "restored.pt"), 3, "model.wz")
        check_refused(run("info", packed), 3, "model.wz")
    assert listing() == before


@pytest.mark.parametrize("length", [0, 3, 20, 60, -1])
def test_a_truncated_file(run, packed, length):
    packed.write_bytes(packed.read_bytes()[:length])
    check_refused(run("restore", packed, "-o", "restored.pt"), 3, "model.wz")


def test_what_is_no_wz_file(run, model):
    check_refused(run("restore", model, "-o", "restored.pt"), 3, "not a .wz file")


def test_an_existing_output(run, packed, model, folder):
    content = packed.read_bytes()
    check_refused(run("compress", model, "--ratio", 10), 1, "model.wz", "-f")
    check_refused(run("restore", packed), 1, "model.pt", "-f")
    assert packed.read_bytes() == content
    assert run("compress", model, "--ratio", 10, "-f").code == 0
    assert packed.read_bytes() != content


def test_an_output_that_is_the_input(run, packed, model):
    content = model.read_bytes()
    check_refused(run("compress", model, "-o", "./model.pt", "-f"), 1, "same file")
    check_refused(run("restore", packed, "-o", "model.wz", "-f"), 1, "same file")
    assert model.read_bytes() == content


def test_an_output_in_a_folder_that_is_not_there(run, model):
    check_refused(run("compress", model, "-o", "nowhere/model.wz"), 1, "nowhere")


@pytest.mark.parametrize(
    "line", ["compress model.pt -f", "restore model.wz -f", "sample model.wz", "zoo train lenet-5", "scan model.pt -o scan.png"]
)
def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(run, packed, monkeypatch, line):
    monkeypatch.setattr("weightzip.files.os.access", lambda path, mode: not mode & os.W_OK)
    check_refused(run(*line.split()), 1, "allows no new files; choose another place with -o")


def test_an_unknown_task(run, model, listing):
    check_refused(run("compress", model, "--max-drop", 1, "--task", "zoo:mnist"), 2, "mnist-fnn")
    assert run("compress", model, "--max-drop", 1, "--task", "missing.py:task").code in (1, 2)
    check_refused(run("report", model, "--task", "zoo:mnist", "-o", "out"), 2, "mnist-fnn")
    assert listing() == ["model.pt"]


def test_an_unknown_zoo_name(run, listing):
    for command in ("train", "eval"):
        check_refused(run("zoo", command, "mnist-fn"), 2, "did you mean mnist-fnn?")
    assert listing() == []


@pytest.mark.parametrize("target", [["--ratio", "100000"], ["--bpw", "0.0001"]], ids=" ".join)
def test_a_target_out_of_reach(run, model, listing, target):
    check_refused(run("compress", model, *target), 1, "out of reach")
    assert listing() == ["model.pt"]


@pytest.mark.parametrize(
    "options",
    [["--ratio", "4", "--bpw", "2"], ["--lossless", "--ratio", "4"], ["--preset", "paper", "--ratio", "4"], ["--ratio", "nan"]],
    ids=" ".join,
)
def test_targets_that_exclude_each_other_or_make_no_sense(run, model, listing, options):
    check_refused(run("compress", model, *options), 2, "--")
    assert listing() == ["model.pt"]


def test_a_checkpoint_of_another_model(run, model):
    check_refused(run("zoo", "eval", "mnist-fnn", model), 1, "does not fit")


def test_a_full_disk(run_alone, model, packed, listing):
    """Files may grow to 100 bytes and no further."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    before = listing()
    check_refused(run_alone("compress", model, "-o", "other.wz", preexec_fn=limit), 1, "other.wz", os.strerror(errno.EFBIG))
    check_refused(run_alone("restore", packed, "-o", "other.pt", preexec_fn=limit), 1, "other.pt", os.strerror(errno.EFBIG))
    assert listing() == before


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout(run_alone, packed):
    with Path("/dev/full").open("w") as full:
        result = run_alone("info", packed, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (result.code, result.err) == (1, f"error: {os.strerror(errno.ENOSPC)}\n")


def test_a_reader_that_has_left(run_alone, packed):
    reading, writing = os.pipe()
    os.close(reading)
    result = run_alone("info", packed, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (result.code, result.err) == (1, "")
