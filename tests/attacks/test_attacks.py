"""Every attack is refused: with the right error, in little memory, in time, and with nothing left behind."""

import contextlib
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks_on_layouts import many_names, views_that_expand_to_terabytes
from hostile import ATTACKS, Attack, header, honest, packed
from make import main

import weightzip
from weightzip.cli.main import execute
from weightzip.errors import LimitError, OutputError

MEMORY = 768 << 20  # bytes beyond those in use; the worst header of 16 MiB takes about 600 MB as Python's objects
TIME = 60  # seconds; a busy machine is slow


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Little memory for all that is allocated within the block, and an end to it."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still busy after {TIME} s")

    before = signal.signal(signal.SIGALRM, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.alarm(TIME)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty one inside of another, so that what is written beside it is noticed."""
    inner = tmp_path / "inner"
    inner.mkdir()
    return inner


def cases() -> Iterator[object]:
    """All attacks, marked."""
    for name, attack in ATTACKS.items():
        marks = [pytest.mark.slow] if attack.slow else []
        yield pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(cases()))
def test_attack(folder: Path, name: str):
    attack: Attack = ATTACKS[name]
    file = folder / "x.wz"
    file.write_bytes(attack.make())
    for read in (weightzip.test, weightzip.restore, restore_to_file):
        options = {} if attack.cap is None else {"memory": attack.cap}
        with bounded(), pytest.raises(attack.error, match=attack.match) as raised:
            read(file, **options)
        assert type(raised.value) is attack.error
        assert str(raised.value).startswith(f"{folder}")
        assert "than this machine has" not in str(raised.value)  # as memory has run out
        assert list(folder.parent.rglob("*")) == [folder, file]
    with bounded(), contextlib.suppress(attack.error) if attack.late else pytest.raises(attack.error, match=attack.match):
        weightzip.info(file)


def restore_to_file(file: Path, **options: int) -> None:
    """As the command line does it, without a name for the output."""
    weightzip.api.restore_to(file, **options)


def run(file: Path, verb: str, *options: str) -> int:
    """A command line on a file, within bounds; its exit code."""
    with bounded():
        return execute([verb, str(file), *options])


def test_without_its_attack_the_file_is_fine(folder: Path):
    (folder / "x.wz").write_bytes(honest())
    assert weightzip.restore(folder / "x.wz")["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.slow
def test_all_are_written_the_same_each_time(tmp_path: Path):
    main(tmp_path / "first")
    main(tmp_path / "second")
    assert len(list((tmp_path / "first").iterdir())) == len(ATTACKS) > 150
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("verb", ["info", "test", "restore"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("last_byte_missing", 3),
        ("two_sections_of_one_name", 3),
        ("header_that_is_a_bomb_and_says_it_is_small", 3),
        ("shard_outside_the_folder", 3),
        ("message_of_a_megabyte", 3),
        ("newer_version", 4),
        ("header_that_is_a_bomb", 4),
        ("unknown_codec", 4),
        ("rank_over_its_limit", 4),
    ],
)
def test_the_command_line_says_so_in_one_line(folder: Path, capfd: pytest.CaptureFixture[str], name: str, code: int, verb: str):
    (folder / "x.wz").write_bytes(ATTACKS[name].make())
    assert run(folder / "x.wz", verb) == code
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert len(err) < 1000


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("../../etc/x", "x"),
        ("/etc/passwd", "passwd"),
        ("C:\\Windows\\x.pt", "x.pt"),
        ("..", "model.pt"),
        ("", "model.pt"),
        ("a/", "model.pt"),
        ("/", "model.pt"),
        (".bashrc", "bashrc"),
        ("a\0b.pt", "a_b.pt"),
        ("a\nb.pt", "a_b.pt"),
        ("x" * 300 + ".pt", "x" * 197 + ".pt"),
        ("~/x.pt", "x.pt"),
    ],
)
def test_a_name_leads_nowhere(folder: Path, stored: str, written: str):
    """Without -o, a checkpoint goes beside the file, whatever it says that it is called."""
    (folder / "x.wz").write_bytes(packed(header(layout={"format": "torch", "name": stored})))
    assert run(folder / "x.wz", "restore") == 0
    assert sorted(path.relative_to(folder.parent) for path in folder.parent.rglob("*") if path.is_file()) == sorted(
        [Path("inner", "x.wz"), Path("inner", written)]
    )


def test_a_file_does_not_overwrite_itself(folder: Path):
    file = folder / "x.wz"
    file.write_bytes(packed(header(layout={"format": "torch", "name": "x.wz"})))
    before = file.read_bytes()
    assert run(file, "restore", "--force") == 1
    assert file.read_bytes() == before


def test_nor_what_is_there_already(folder: Path):
    (folder / "x.wz").write_bytes(packed(header(layout={"format": "torch", "name": "precious.pt"})))
    (folder / "precious.pt").write_bytes(b"mine")
    assert run(folder / "x.wz", "restore") == 1
    assert (folder / "precious.pt").read_bytes() == b"mine"


def test_a_view_that_expands_to_terabytes(folder: Path):
    """It is no more than its one element in memory, and in torch's format."""
    file = folder / "x.wz"
    file.write_bytes(views_that_expand_to_terabytes("torch"))
    with bounded():
        assert weightzip.restore(file)["k0"].shape == (1 << 42,)
    assert run(file, "restore") == 0
    assert (folder / "model.pt").stat().st_size < 10_000
    file.write_bytes(views_that_expand_to_terabytes("safetensors"))
    assert run(file, "restore", "-o", str(folder / "y.safetensors")) == 4
    assert not (folder / "y.safetensors").exists()


def test_more_than_the_disk_holds_is_refused_before_anything_is_decoded(folder: Path):
    """With --memory as large as one likes."""
    file = folder / "x.wz"
    file.write_bytes(packed(header(tensors=[["w", [1 << 50], "float32", 1]])))
    with bounded(), pytest.raises(OutputError, match=r"needs 4,503,599,627,370,496 bytes"):
        weightzip.api.restore_to(file, memory=1 << 62)
    assert list(folder.iterdir()) == [file]


def test_an_honest_file_over_the_cap(folder: Path):
    """The cap is on what comes out; the working memory of small files is free."""
    file = folder / "x.wz"
    file.write_bytes(honest())
    weightzip.restore(file, memory=24)
    with pytest.raises(LimitError, match="restores to 24 bytes, over the cap of 23"):
        weightzip.restore(file, memory=23)


def test_many_tensors_take_time_in_proportion(folder: Path):
    """With time in proportion to their square, these would take an hour."""
    file = folder / "x.wz"
    file.write_bytes(many_names(None))
    with bounded():
        weightzip.test(file)
