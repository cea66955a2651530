"""Completion: the scripts, and what the program answers when a shell asks; in real shells where there are some."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

import weightzip
from weightzip.cli.completing import FAMILIES
from weightzip.cli.shells import SHELLS

ZOO = ["mnist-fnn", "mnist-cnn", "mnist-rnn", "mnist-lstm", "lenet-300-100", "lenet-5"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_all_of_stdout(run, shell):
    result = run("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert f"_WEIGHTZIP_COMPLETE={shell}_complete" in result.out
    assert "%(" not in result.out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_its_shell(run, folder, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (folder / "script").write_text(run("completion", shell).out)
    done = subprocess.run([shell, "-n", "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def answer(monkeypatch, run, line, shell="fish", **more):
    """Kind and value of each completion of the last word."""
    with monkeypatch.context() as patch:
        for name, value in {"_WEIGHTZIP_COMPLETE": f"{shell}_complete", "COMP_LINE": line, **more}.items():
            patch.setenv(name, value)
        result = run()
    assert (result.code, result.err) == (0, "")
    return [tuple(row.split("\t")[:2]) for row in result.out.splitlines() if row]


def values(*arguments, **more):
    return [value for _, value in answer(*arguments, **more)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("weightzip comp", ["compress", "completion"]),
        ("weightzip zoo ", ["list", "train", "eval"]),
        ("weightzip zoo train ", ZOO),
        ("weightzip zoo eval mnist-r", ["mnist-rnn"]),
        ("weightzip compress model.pt --max-", ["--max-error", "--max-drop"]),
        ("weightzip compress model.pt --max-drop 1 --max-", ["--max-error"]),
        ("weightzip compress --preset ", ["auto", "paper"]),
        ("weightzip compress --adapt=f", ["--adapt=finetune"]),
        ("weightzip compress --family ", list(FAMILIES)),
        ("weightzip scan --family e", ["ensemble"]),
        ("weightzip compress --task zoo:lenet", ["zoo:lenet-300-100", "zoo:lenet-5"]),
        ("weightzip report --task=zoo:mnist-f", ["--task=zoo:mnist-fnn"]),
        ("weightzip completion ", ["bash", "zsh", "fish"]),
        ("NO_COLOR=1 /usr/bin/weightzip zoo l", ["list"]),
        ("weightzip zoo frobnicate ", ["list", "train", "eval"]),
        ("weightzip restore 'unfinished", ["*.wz"]),
    ],
)
def test_names(monkeypatch, run, line, expected):
    assert values(monkeypatch, run, line) == expected


@pytest.mark.parametrize(
    ("line", "patterns"),
    [
        ("weightzip restore ", ["*.wz"]),
        ("weightzip info ", ["*.wz"]),
        ("weightzip test ", ["*.wz"]),
        ("weightzip sample ", ["*.wz"]),
        ("weightzip compress mod", ["*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt"]),
        ("weightzip scan ", ["*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt", "*.wz"]),
        ("weightzip bench a.pt ", ["*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt"]),
        ("weightzip compress --task my", ["*.py"]),
        ("weightzip restore model.wz -o ", ["*"]),
    ],
)
def test_files_are_looked_for_by_the_shell(monkeypatch, run, line, patterns):
    assert answer(monkeypatch, run, line) == [("file", pattern) for pattern in patterns]


def test_tensors_come_from_the_file(monkeypatch, run, packed):
    assert values(monkeypatch, run, "weightzip restore model.wz --tensor ") == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert values(monkeypatch, run, "weightzip restore model.wz --tensor=2.") == ["--tensor=2.weight", "--tensor=2.bias"]
    assert values(monkeypatch, run, "weightzip restore missing.wz --tensor ") == []
    packed.write_bytes(b"damaged")
    assert values(monkeypatch, run, "weightzip restore model.wz --tensor ") == []


def test_a_name_that_a_shell_would_execute_is_not_offered(monkeypatch, run, folder):
    """The file may be a stranger's, and bash takes completions as they are."""
    names = ["linear/~/w", "a.0:b", "$(touch x)", "`touch x`", "a;touch x", "a\nplain\tb\t-", "a b", "'", "a|b", "a>b", "!1"]
    weightzip.compress({name: torch.ones(2) for name in names}, "odd.wz", lossless=True)
    assert values(monkeypatch, run, "weightzip restore odd.wz --tensor ") == ["linear/~/w", "a.0:b"]


@pytest.mark.parametrize(("word", "expected"), [("mnist-f", ["mnist-fnn"]), ("zoo:mnist-f", ["zoo:mnist-fnn"])])
def test_bash_is_told_only_what_comes_after_its_last_colon(monkeypatch, run, word, expected):
    line = "weightzip compress --task zoo:mnist-f"
    assert values(monkeypatch, run, line, shell="bash", COMP_WORD=word) == expected


@pytest.mark.parametrize("line", ["weightzip compress --task zoo:", "weightzip restore model.wz --tensor "])
def test_a_tab_imports_nothing_heavy(packed, line):
    script = (
        "import sys; from weightzip.cli.main import execute; code = execute([]);"
        "heavy = {'torch', 'matplotlib', 'rich', 'safetensors'} & set(sys.modules);"
        "sys.exit(code or ' '.join(heavy) or None)"
    )
    environment = os.environ | {"_WEIGHTZIP_COMPLETE": "zsh_complete", "COMP_LINE": line}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("plain\t")


BASH = """
source ./script
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_weightzip_completion weightzip "$2" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "word", "expected"),
    [
        ("weightzip zoo train lenet-", "lenet-", {"lenet-300-100", "lenet-5"}),
        ("weightzip compress --task zoo:mnist-f", "mnist-f", {"mnist-fnn"}),
        ("weightzip restore ", "", {"model.wz", "folder"}),
        ("weightzip restore folder/", "folder/", {"folder/a b.wz"}),
        ("weightzip compress m", "m", {"model.pt"}),
        ("weightzip restore model.wz --tensor 2.", "2.", {"2.weight", "2.bias"}),
    ],
)
def test_in_bash(run, packed, folder, line, word, expected):
    """Its variables are set as it does on a Tab; compopt, which works only there, fails without a word."""
    (folder / "folder").mkdir()
    (folder / "folder" / "a b.wz").touch()
    (folder / "script").write_text(run("completion", "bash").out)
    program = folder / "bin" / "weightzip"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m weightzip "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", BASH, "bash", line, word]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert set(done.stdout.splitlines()) - {"bin"} == expected
