import stat
from pathlib import Path

import pytest

from weightzip.errors import OutputError
from weightzip.folders import replaced_folder, staged_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(staging, text="new"):
    (staging / "data.txt").write_text(text)


def test_a_new_folder_appears_whole_with_the_usual_permissions(tmp_path):
    (tmp_path / "usual").mkdir()
    with staged_folder(tmp_path / "a" / "b") as staging:
        write(staging)
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "b" / "data.txt").read_text() == "new"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "usual", tmp_path / "a" / "b")}
    assert len(modes) == 1
    assert names(tmp_path) == ["a", "usual"]


def test_a_folder_that_is_there_keeps_its_other_files(tmp_path):
    write(tmp_path, "old")
    (tmp_path / "thesis.tex").write_text("precious")
    with staged_folder(tmp_path) as staging:
        write(staging)
        assert (tmp_path / "data.txt").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"data.txt": "new", "thesis.tex": "precious"}


def test_the_current_folder_can_be_the_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with staged_folder(Path()) as staging:
        write(staging)
    assert names(tmp_path) == ["data.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
@pytest.mark.parametrize("name", ["new", "."])
def test_a_block_that_fails_leaves_nothing_and_its_error_alone(tmp_path, name, error):
    def fail():
        with staged_folder(tmp_path / name) as staging:
            write(staging)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


def test_a_file_on_the_way_is_refused_at_once(tmp_path):
    write(tmp_path)
    with pytest.raises(OutputError, match="cannot be written"), staged_folder(tmp_path / "data.txt" / "folder"):
        pytest.fail("begun")


def files_of(folder):
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else None


@pytest.fixture
def target(tmp_path):
    """A folder with a file of an earlier run, which may go."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.bin").write_text("old")
    return tmp_path / "model"


def replace(folder, **options):
    with replaced_folder(folder, may_go=options.get("may_go", lambda path: path.suffix == ".bin")) as staging:
        (staging / "new.bin").write_text("new")
        options.get("meanwhile", lambda: None)()


def test_a_folder_is_replaced_as_a_whole(target):
    replace(target)
    assert files_of(target) == {"new.bin": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_what_may_not_go_stays(target):
    (target / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"model: holds other files, such as notes\.txt"):
        replace(target)
    assert files_of(target) == {"old.bin": "old", "notes.txt": "precious"}


def test_what_comes_meanwhile_stays(target):
    with pytest.raises(OutputError, match=r"holds other files, such as notes\.txt"):
        replace(target, meanwhile=lambda: (target / "notes.txt").write_text("precious"))
    assert files_of(target) == {"old.bin": "old", "notes.txt": "precious"}


def test_a_new_folder_that_somebody_else_makes_meanwhile_stays(tmp_path):
    def meanwhile():
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "theirs.bin").write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        replace(tmp_path / "model", may_go=None, meanwhile=meanwhile)
    assert files_of(tmp_path / "model") == {"theirs.bin": "theirs"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_a_swap_that_fails_leaves_the_old_folder(target, monkeypatch, error, failing):
    rename, calls = Path.rename, []

    def fail(self, other):
        calls.append(other)
        if len(calls) == failing:
            raise error
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        replace(target)
    monkeypatch.undo()
    assert files_of(target) == {"old.bin": "old"}
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_block_without_space_is_told_with_the_name(target):
    def fail():
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="model: cannot be written: No space left on device"):
        replace(target, meanwhile=fail)
    assert files_of(target) == {"old.bin": "old"}
