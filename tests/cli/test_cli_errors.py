import errno
import os
import select
import signal
import struct
import subprocess
import sys

import pytest
import torch

import weightzip

pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
NO_MEMORY = "not enough memory; close other programs or use a machine with more"


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ZeroDivisionError("oh"), "internal error: ZeroDivisionError: oh (run with -v for the traceback)"),
        (PermissionError(errno.EACCES, "Permission denied", "x.wz"), "x.wz: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), NO_MEMORY),
        (
            OSError(errno.ENOMEM, "Cannot allocate memory", "x.wz"),
            NO_MEMORY,
        ),
        (RuntimeError("can't allocate memory: 9 bytes"), NO_MEMORY),
        (torch.OutOfMemoryError("CUDA"), "not enough memory on the device; use --device cpu or a machine with more"),
        (ValueError("two\nlines"), r"internal error: ValueError: two\nlines (run with -v for the traceback)"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_whatever_goes_wrong_is_one_line(run, model, monkeypatch, error, line):
    monkeypatch.setattr(weightzip, "compress", failing(error), raising=False)
    result = run("compress", model)
    assert (result.code, result.out, result.err) == (1, "", f"error: {line}\n")


def test_verbose_shows_where(run, model, monkeypatch):
    monkeypatch.setattr(weightzip, "compress", failing(ZeroDivisionError("oh")), raising=False)
    lines = run("compress", model, "-v").err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: internal error: ZeroDivisionError")


def test_json_errors_go_to_stderr_too(run):
    result = run("compress", "missing.pt", "--json")
    assert (result.code, result.out) == (1, "")


def test_quiet_errors_are_still_told(run):
    assert run("compress", "missing.pt", "-q").err.startswith("error: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_the_file_is_checked_leaves_nothing(run, model, listing, monkeypatch, number):
    seen = []

    def stop(*arguments, **options):
        seen.extend(listing())
        os.kill(os.getpid(), number)

    monkeypatch.setattr("weightzip.compressing.decode_parts", stop)
    result = run("compress", model)
    assert (result.code, result.out, result.err) == (128 + number, "", "interrupted\n")
    assert any(name.endswith(".tmp") for name in seen)
    assert listing() == ["model.pt"]
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_a_library_that_makes_something_else_of_an_interruption(run, model, monkeypatch):
    def stop(*arguments, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException as error:
            raise ImportError("cannot import") from error

    monkeypatch.setattr(weightzip, "compress", stop, raising=False)
    result = run("compress", model)
    assert (result.code, result.err) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_training_leaves_nothing(model, listing, number):
    """On a terminal, whose progress bar also says when the training has begun."""
    terminal, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-m", "weightzip", "compress", str(model), "--preset", "paper", "--epochs", "1000000"]
    process = subprocess.Popen([*command, "--patience", "1000000"], stdin=other, stdout=subprocess.PIPE, stderr=other)
    os.close(other)
    try:
        said = read_until(terminal, b"training the VAE")
        process.send_signal(number)
        said += read_until(terminal, b"interrupted")
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(terminal)
    assert (process.returncode, out) == (128 + number, b"")
    assert said.rstrip().endswith(b"interrupted")
    assert listing() == ["model.pt"]


def read_until(terminal: int, words: bytes) -> bytes:
    """What is written on a terminal until some words come; it fails where they do not within a minute."""
    said = b""
    while words not in said:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, said
        try:
            said += os.read(terminal, 4096)
        except OSError:  # the program has ended
            pytest.fail(said.decode())
    return said
