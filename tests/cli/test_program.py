"""The program as its users meet it: a process, its exit code, and to the letter what it says on stdout and stderr.

Each case is a process of its own, forked from one that has torch loaded (`warm_program`), or each would take seconds.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from warm_program import warm_program

SECONDS = 240
ZOO = "choose from mnist-fnn, mnist-cnn, mnist-rnn, mnist-lstm, lenet-300-100, lenet-5"
CHANGED = "damaged: section 'symbols' does not match its hash; fetch it again"
NO_WZ = "not a .wz file (its first bytes are others); name a file made by `weightzip compress`"
EXISTS = "exists already; use -f to overwrite it, or choose another name with -o"
SAME = "output and input are the same file; choose another name with -o"
TASK = "a task is zoo:NAME or path/to/file.py:OBJECT"


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    with warm_program(tmp_path_factory.mktemp("program") / "bin") as folder:
        yield folder / "weightzip"


def ask(program, folder, arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        env=clean | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.fixture(scope="module")
def stock(program, tmp_path_factory):
    """What the cases work on; each of them gets a copy."""
    stock = tmp_path_factory.mktemp("stock")
    torch.manual_seed(0)
    torch.save({"a.weight": torch.randn(64, 32), "a.bias": torch.randn(64)}, stock / "model.pt")
    torch.save({"weight": torch.zeros(3), "evil": Evil()}, stock / "evil.pt")
    (stock / "plain.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    (stock / "text.txt").write_text("no checkpoint\n")
    (stock / "empty.pt").write_bytes(b"")
    (stock / "empty.wz").write_bytes(b"")
    (stock / "folder").mkdir()
    (stock / "broken.py").write_text("task = \n")
    (stock / "raises.py").write_text("raise ValueError('no data')\n")
    (stock / "half.py").write_text("class Half:\n    name = 'half'\n\n\ntask = Half()\n")
    assert ask(program, stock, ["compress", "model.pt", "-q"]).returncode == 0
    assert ask(program, stock, ["compress", "model.pt", "-q", "--lossless", "-o", "exact.wz"]).returncode == 0
    whole = (stock / "model.wz").read_bytes()
    middle = len(whole) // 2
    (stock / "damaged.wz").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    (stock / "cut.wz").write_bytes(whole[:-100])
    (stock / "cut.pt").write_bytes((stock / "model.pt").read_bytes()[:3000])
    (stock / "cut.wz.size").write_text(f"{len(whole) - 100:,} bytes instead of {len(whole):,}")
    return stock


@pytest.fixture
def place(stock, folder):
    shutil.copytree(stock, folder, dirs_exist_ok=True)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


ERRORS = [  # command line, exit code, the first line on stderr
    # what is asked for does not exist
    ("compress missing.pt", 1, "missing.pt: no such file; check the name"),
    ("restore missing.wz", 1, "missing.wz: cannot be read: No such file or directory; check the name"),
    ("info missing.wz", 1, "missing.wz: cannot be read: No such file or directory; check the name"),
    ("test missing.wz", 1, "missing.wz: cannot be read: No such file or directory; check the name"),
    ("sample missing.wz", 1, "missing.wz: cannot be read: No such file or directory; check the name"),
    ("scan missing.pt", 1, "missing.pt: no such file; check the name"),
    ("scan model.pt --against missing.pt", 1, "missing.pt: no such file; check the name"),
    ("report missing.pt --task zoo:mnist-fnn", 1, "missing.pt: no such file; check the name"),
    ("zoo eval mnist-fnn missing.pt", 1, "missing.pt: no such file; check the name"),
    # it is not what it should be
    (
        "compress text.txt",
        1,
        "text.txt: not a checkpoint: written neither by torch.save nor as .safetensors; name another file",
    ),
    ("compress empty.pt -o x.wz", 3, "empty.pt: is empty; copy or download it again"),
    ("compress model.wz", 1, "model.wz: is a .wz file already; `weightzip restore model.wz` gives its checkpoint back"),
    ("restore model.pt", 3, f"model.pt: {NO_WZ}"),
    ("info text.txt", 3, f"text.txt: {NO_WZ}"),
    ("test empty.wz", 3, "empty.wz: empty, hence not a .wz file; fetch it again"),
    ("restore folder", 1, "folder: is no file; name a file made by `weightzip compress`"),
    (
        "zoo eval mnist-fnn model.pt",
        1,
        "the checkpoint does not fit the model of task zoo:mnist-fnn; missing: 1.weight, 1.bias, 3.weight, 3.bias, 5.weight "
        "and 5 more; unexpected: a.weight, a.bias; name the task that it is for",
    ),
    # it is damaged
    ("restore damaged.wz -o x.pt", 3, f"damaged.wz: {CHANGED}"),
    ("info damaged.wz", 3, f"damaged.wz: {CHANGED}"),
    ("test damaged.wz", 3, f"damaged.wz: {CHANGED}"),
    ("sample damaged.wz -o x.pt", 3, f"damaged.wz: {CHANGED}"),
    ("scan damaged.wz", 3, f"damaged.wz: {CHANGED}"),
    ("zoo eval mnist-fnn damaged.wz", 3, f"damaged.wz: {CHANGED}"),
    ("restore cut.wz -o x.pt", 3, "cut.wz: damaged: CUT; fetch it again"),
    (
        "compress cut.pt -o x.wz",
        3,
        "cut.pt: truncated or damaged (BadZipFile: File is not a zip file); copy or download it again",
    ),
    # it is refused
    (
        "compress evil.pt",
        4,
        "evil.pt: reading it would run code: it asks for posix.mkdir; load it where you trust it and save only its state "
        "dict, with torch.save or as .safetensors",
    ),
    (
        "restore model.wz --memory 10 -o x.pt",
        4,
        "model.wz: restores to 8,448 bytes, over the cap of 10; raise it with --memory",
    ),
    ("test model.wz --memory 1kB", 4, "model.wz: restores to 8,448 bytes, over the cap of 1,000; raise it with --memory"),
    ("sample model.wz --memory 1kB", 4, "model.wz: restores to 8,448 bytes, over the cap of 1,000; raise it with --memory"),
    # the output cannot be written
    ("compress model.pt", 1, f"model.wz: {EXISTS}"),
    ("restore model.wz", 1, f"model.pt: {EXISTS}"),
    ("compress model.pt -o model.pt -f", 1, f"model.pt: {SAME}"),
    ("restore model.wz -o model.wz -f", 1, f"model.wz: {SAME}"),
    ("scan model.pt -o model.pt -f", 1, f"model.pt: {SAME}"),
    ("compress model.pt -o folder", 1, "folder: is a folder; name a file with -o"),
    ("restore model.wz -o folder", 1, "folder: is a folder; name a file with -o"),
    ("compress model.pt -o nowhere/x.wz", 1, "nowhere: no such folder; create it first"),
    ("report model.pt --task zoo:mnist-fnn -o text.txt", 1, "text.txt: is a file; name a folder with -o"),
    ("demo -o text.txt", 1, "text.txt: is a file; name a folder with -o"),
    ("demo -o .", 1, ".: holds other files; name another folder with -o, or use -f"),
    ("zoo train lenet-5 -o model.pt", 1, f"model.pt: {EXISTS}"),
    # targets
    ("compress model.pt --ratio 3 --bpw 2 -o x.wz", 2, "--ratio and --bpw exclude each other; give one target"),
    (
        "compress model.pt --ratio 3 --lossless -o x.wz",
        2,
        "--lossless stands alone: leave out the preset, the other targets, --adapt, --include and --exclude",
    ),
    ("compress model.pt --ratio 0 -o x.wz", 2, "--ratio must be a positive number, not 0"),
    ("compress model.pt --ratio abc -o x.wz", 2, "--ratio: 'abc' is not a number"),
    ("compress model.pt --max-error -1 -o x.wz", 2, "--max-error must be a positive number, not -1"),
    (
        "compress model.pt --ratio 100000 -o x.wz",
        1,
        r"0 bytes are out of reach: the smallest file takes NUMBER (NUMBERx, NUMBER bits per weight); ask for less with "
        "--ratio or --bpw",
    ),
    # tasks
    ("compress model.pt --max-drop 1 -o x.wz", 2, "--max-drop needs a task to evaluate; name one with --task"),
    ("compress model.pt --adapt calibrate -o x.wz", 2, "--adapt calibrate needs a task to learn from; name one with --task"),
    (
        "compress model.pt --max-drop 1 --task zoo:mnist-fn -o x.wz",
        2,
        f"'mnist-fn': no such model in the zoo; did you mean mnist-fnn? {ZOO}",
    ),
    ("compress model.pt --max-drop 1 --task half -o x.wz", 2, f"'half': not a task; {TASK}"),
    ("compress model.pt --max-drop 1 --task none.py:task -o x.wz", 1, f"none.py: no such file; {TASK}"),
    (
        "compress model.pt --max-drop 1 --task half.py:task -o x.wz",
        1,
        "half.py:task: not a complete task; it lacks metric (a str), model(), evaluate()",
    ),
    (
        "compress model.pt --max-drop 1 --task half.py:other -o x.wz",
        1,
        "half.py:other: the file has no 'other'; name an object that it defines",
    ),
    (
        "compress model.pt --max-drop 1 --task raises.py:task -o x.wz",
        1,
        "HERE/raises.py: raised ValueError: no data (raises.py, line 1) while it was loaded; correct that file",
    ),
    (
        "sample model.wz --task broken.py:task",
        1,
        "HERE/broken.py: raised SyntaxError: invalid syntax (broken.py, line 1) while it was loaded; correct that file",
    ),
    ("report model.pt --task zoo:nope", 2, f"'nope': no such model in the zoo; {ZOO}"),
    # names and values
    ("zoo train mnist-fn", 2, f"'mnist-fn': no such model in the zoo; did you mean mnist-fnn? {ZOO}"),
    ("restore model.wz --tensor nope -o x.pt", 2, "model.wz: holds no tensor 'nope'; `weightzip info model.wz` lists them"),
    ("compress model.pt --exclude x* -o x.wz", 2, "no weight is called 'x*'; there are, for example, a.bias, a.weight"),
    ("compress model.pt --chunk 3 -o x.wz", 2, "--chunk: only for the paper preset; add --preset paper"),
    (
        "sample exact.wz",
        2,
        "exact.wz: all its tensors are exact, so there is nothing to draw; compress the checkpoint without --lossless",
    ),
    (
        "bench model.pt --peers none",
        2,
        "--peers none: no Python there; name the python of a virtual environment, or its folder",
    ),
    ("compress model.pt --seed -1", 2, "--seed: '-1' is not a whole number, from 0 to 4294967295"),
    ("compress model.pt --device tpu", 2, "--device: 'tpu' is not one of 'auto', 'cpu', 'cuda'"),
    ("restore model.wz --memory lots", 2, "--memory: 'lots' is not a number of bytes such as 500MB or 2GiB"),
    # what click itself finds
    ("compress", 2, "missing MODEL"),
    ("restore", 2, "missing FILE"),
    ("report model.pt", 2, "missing --task"),
    ("bench", 2, "missing CHECKPOINT..."),
    ("completion", 2, "missing SHELL: bash, zsh or fish"),
    ("completion tcsh", 2, "SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ("compress model.pt other.pt", 2, "unexpected argument (other.pt)"),
    ("compress model.pt --ratio", 2, "--ratio needs a value"),
    ("compress model.pt --ratoi 3", 2, "no such option: --ratoi; did you mean --ratio?"),
    ("restore model.wz --tensr a", 2, "no such option: --tensr; did you mean --tensor?"),
    ("compress model.pt -x", 2, "no such option: -x"),
    ("-v compress model.pt", 2, "no such option: -v; write it after the command: weightzip COMMAND -v"),
    ("compres model.pt", 2, "no such command: compres; did you mean compress?"),
    ("zoo lst", 2, "no such command: lst; did you mean list?"),
    (
        "frobnicate",
        2,
        "no such command: frobnicate; choose from compress, restore, sample, info, test, scan, report, bench, zoo, demo, "
        "completion",
    ),
]


@pytest.mark.parametrize(("line", "code", "message"), ERRORS, ids=[line for line, _, _ in ERRORS])
def test_an_error(program, place, line, code, message):
    before = files(place)
    done = ask(program, place, line.split())
    message = message.replace("CUT", (place / "cut.wz.size").read_text()).replace("HERE", str(place.resolve()))
    pattern = re.escape(f"error: {message}").replace("NUMBER", r"[\d,.]+")
    first, *others = done.stderr.splitlines()
    assert re.fullmatch(pattern, first), done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert all(re.fullmatch(r"`weightzip[ a-z]* --help` lists what it takes", other) for other in others[:1])
    assert len(others) <= (1 if code == 2 else 0)
    assert files(place) == before
    assert not (place / "executed").exists()


@pytest.mark.parametrize("options", [["--json"], ["-q"]], ids=" ".join)
@pytest.mark.parametrize("line", ["compress missing.pt", "info damaged.wz", "zoo eval mnist-fn", "restore"])
def test_an_error_is_told_on_stderr_however_the_command_answers(program, place, line, options):
    plain, done = ask(program, place, line.split()), ask(program, place, [*line.split(), *options])
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, "", plain.stderr)


def test_an_error_of_a_pickle_that_runs_code(program, place):
    done = ask(program, place, ["compress", "plain.pt"])
    assert (done.returncode, done.stdout) == (4, "")
    assert not (place / "executed").exists()


DONE = [  # command line, stdout as a pattern, stderr, what is new in the folder
    (
        "compress model.pt -o new.wz",
        r"model\.pt -> new\.wz: 8,448 -> [\d,]+ bytes, [\d.]+x smaller \([\d.]+ bits per weight\)\n"
        r"  relative mean square error [\d.]+, largest error [\d.]+\n",
        "",
        {"new.wz"},
    ),
    ("restore model.wz -o new.pt", r"model\.wz -> new\.pt: [\d,]+ -> 8,448 bytes, 2 tensors\n", "", {"new.pt"}),
    ("restore model.wz --tensor a.bias", r"model\.wz -> a\.bias\.pt: [\d,]+ -> 256 bytes, 1 tensor\n", "", {"a.bias.pt"}),
    (
        "sample model.wz -n 2",
        r"weights +relative mean square error\n.*\nmodel-sample-1\.pt .*\nmodel-sample-2\.pt .*\n",
        "",
        {"model-sample-1.pt", "model-sample-2.pt"},
    ),
    (
        "info model.wz",
        r"model\.pt -> model\.wz: 8,448 -> (?s:.*)\n\nsection .*\n(?s:.*)\n\ntensor .*\n(?s:.*)\na\.weight (?s:.*)\n",
        "",
        set(),
    ),
    ("test model.wz", r"model\.wz: OK, [\d,]+ bytes, 2 tensors, preset auto\n", "", set()),
    ("zoo list", r"name .*\n.*\nmnist-fnn +185,300 +98\.38\n(?s:.*)\n\ncheckpoints: .*\n", "", set()),
    ("zoo eval lenet-300-100", r".*lenet-300-100\.safetensors: lenet-300-100, top-1 accuracy, %: 98\.46\n", "", set()),
]


@pytest.mark.parametrize(("line", "stdout", "stderr", "new"), DONE, ids=[case[0] for case in DONE])
def test_a_command_that_succeeds(program, place, line, stdout, stderr, new):
    before = set(files(place))
    done = ask(program, place, line.split())
    assert (done.returncode, done.stderr) == (0, stderr)
    assert re.fullmatch(stdout, done.stdout), done.stdout
    assert set(files(place)) == before | new


@pytest.mark.parametrize("line", [case[0] for case in DONE])
def test_quiet_says_nothing_and_json_one_value(program, place, line):
    done = ask(program, place, [*line.split(), "-q"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name in ("new.wz", "new.pt", "a.bias.pt", "model-sample-1.pt", "model-sample-2.pt"):
        Path(place / name).unlink(missing_ok=True)
    done = ask(program, place, [*line.split(), "--json"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    json.loads(done.stdout)


def test_a_table_that_is_piped_is_neither_coloured_nor_cut(program, place):
    name = "layer." * 15 + "weight"
    torch.save({name: torch.randn(64, 32)}, place / "long.pt")
    assert ask(program, place, ["compress", "long.pt", "-q"]).returncode == 0
    done = ask(program, place, ["info", "long.wz"], COLUMNS="40")
    assert name in done.stdout
    assert "\x1b" not in done.stdout


def test_verbose_tells_the_stages_on_stderr(program, place):
    done = ask(program, place, ["compress", "model.pt", "-f", "-v"])
    assert re.search(r"^ +\d+\.\d s  coding$", done.stderr, re.MULTILINE)
    assert "bytes by section: header " in done.stderr
    assert done.stdout.startswith("model.pt -> model.wz")


def test_verbose_shows_where_an_error_comes_from(program, place):
    done = ask(program, place, ["compress", "missing.pt", "-v"])
    assert "\nTraceback (most recent call last):\n" in f"\n{done.stderr}"
    assert done.stderr.splitlines()[-1] == "error: missing.pt: no such file; check the name"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="nothing can be written there, not even by root")
def test_a_folder_that_nothing_can_be_written_to(program, place):
    done = ask(program, place, ["compress", "model.pt", "-o", "/proc/model.wz"])
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: /proc/model\.wz: .*cannot be written.*; .*choose another place with -o\n", done.stderr)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(program, place):
    (place / "folder").chmod(0o555)
    done = ask(program, place, ["compress", "model.pt", "-o", "folder/model.wz"])
    assert (done.returncode, done.stdout) == (1, "")
    reason = f"{place / 'folder'} allows no new files; choose another place with -o"
    assert done.stderr == f"error: folder/model.wz: cannot be written: {reason}\n"


def test_the_interpreter_runs_the_same_program(place):
    """No forks here: what imports print or change would be seen."""
    command = [sys.executable, "-m", "weightzip", "restore", "damaged.wz", "-o", "x.pt"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"error: damaged.wz: {CHANGED}\n")


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scan model.pt --family dense", "blocks flagged"),
        ("bench model.pt --lossless", "codec"),
        ("zoo eval mnist-cnn", "top-1 accuracy"),
    ],
)
def test_a_long_command_that_succeeds(program, place, line, words):
    assert words in ask(program, place, line.split()).stdout
    done = ask(program, place, [*line.split(), "--json"])
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    json.loads(done.stdout)
