import stat
from pathlib import Path

import pytest

from weightzip.errors import OutputError
from weightzip.folders import staged_folder


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
