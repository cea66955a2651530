import subprocess
import sys

import pytest

import weightzip

COMMANDS = (
    ["compress"],
    ["restore"],
    ["sample"],
    ["info"],
    ["test"],
    ["scan"],
    ["report"],
    ["bench"],
    ["zoo"],
    ["zoo", "list"],
    ["zoo", "train"],
    ["zoo", "eval"],
    ["demo"],
    ["completion"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example(run, command):
    result = run(*command, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"weightzip {' '.join(command)}" in result.out.split("Example")[1]
    assert result.err == ""


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_fits_into_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in run(*command, "--help").out.splitlines() if len(line) > 80] == []


def test_options_stand_in_sections(run):
    target, rest = run("compress", "--help").out.split("Target, one at most:")[1].split("\n\n", 1)
    assert all(flag in target for flag in ("--ratio", "--bpw", "--max-error", "--max-drop", "--lossless"))
    assert "--quiet" in rest.split("Messages:")[1]
    assert "\n  MODEL" not in rest


def test_the_commands_are_those_that_are_tested(run):
    listed = run("--help").out.split("Commands:")[1].split("\n")
    assert {line.split()[0] for line in listed if line.strip()} == {command[0] for command in COMMANDS}


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["demo", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    """So that it answers at once."""
    script = (
        "import sys; from weightzip.cli.main import execute; code = execute(sys.argv[1:]);"
        "heavy = {'torch', 'numpy', 'matplotlib', 'rich', 'zstandard', 'safetensors'} & set(sys.modules);"
        "sys.exit(code or ' '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_family_stands_with_the_settings_of_the_paper_preset(run):
    others, settings = run("compress", "--help").out.split("Settings of the paper preset:")
    assert "--family NAME" in settings
    assert "--chunk N" in settings
    assert "--family NAME" not in others


def test_version(run):
    assert run("--version").out == f"weightzip {weightzip.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [(["compres"], "compress"), (["inof"], "info"), (["zoo", "evl"], "eval")], ids=lambda item: str(item)
)
def test_a_mistyped_command_suggests_the_close_one(run, typed, meant):
    result = run(*typed)
    assert (result.code, result.out) == (2, "")
    assert f"no such command: {typed[-1]}; did you mean {meant}?" in result.err


def test_an_unknown_command_lists_what_there_is(run):
    assert "choose from compress, restore, sample" in run("xyzzy").err


@pytest.mark.parametrize("arguments", [[], ["zoo"]], ids=["weightzip", "zoo"])
def test_no_command_shows_the_help_on_stderr(run, arguments):
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Commands:" in result.err


def test_a_mistyped_option_is_told_in_two_lines(run):
    result = run("compress", "model.pt", "--ratoi", "3")
    assert (result.code, result.out) == (2, "")
    assert "--ratio" in result.err
    assert len(result.err.splitlines()) == 2
