import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from weightzip.errors import OutputError
from weightzip.files import atomic_path, check_output, check_space


def test_what_is_written_gets_its_name_only_at_the_end(tmp_path):
    target = tmp_path / "out.bin"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.parent == tmp_path  # the same disk, so that renaming is atomic
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


def test_it_replaces_an_existing_file(tmp_path):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


def write_half_and_fail(target, error):
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_behind_and_the_old_file_alone(tmp_path, error):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write_half_and_fail(target, error)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_line(tmp_path):
    target = tmp_path / "out.bin"
    with pytest.raises(OutputError, match="No space left on device; free some space") as raised, atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(target) in str(raised.value)
    assert raised.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_the_data_is_synced_before_the_name_changes(tmp_path, monkeypatch):
    """A crash after the renaming must not find an empty file."""
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("sync") or fsync(handle))
    monkeypatch.setattr(Path, "replace", lambda self, target: order.append("rename") or replace(self, target))
    with atomic_path(tmp_path / "out.bin") as temporary:
        temporary.write_bytes(b"x")
    assert order == ["sync", "rename", "sync"]  # the file, and then the folder that holds its name


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_the_file_has_the_mode_that_open_would_give_it(tmp_path):
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.write_bytes(b"")
    with atomic_path(written):
        pass
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_long_name_still_has_room_for_the_temporary_one(tmp_path):
    target = tmp_path / ("x" * 240 + ".wz")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"x")
    assert target.read_bytes() == b"x"


def test_two_writers_of_one_name_do_not_mix(tmp_path):
    target = tmp_path / "out.bin"
    barrier = threading.Barrier(2)

    def write(content):
        with atomic_path(target) as temporary:
            barrier.wait()
            temporary.write_bytes(content * 10_000)
            barrier.wait()

    threads = [threading.Thread(target=write, args=(content,)) for content in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in (b"a" * 10_000, b"b" * 10_000)
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_in_an_existing_folder_is_fine(tmp_path, monkeypatch):
    check_output(tmp_path / "new.wz")
    monkeypatch.chdir(tmp_path)
    check_output(Path("new.wz"))


def test_an_existing_output_is_refused_unless_forced(tmp_path):
    output = tmp_path / "out.wz"
    output.touch()
    with pytest.raises(OutputError, match="exists already; use -f"):
        check_output(output)
    check_output(output, force=True)


@pytest.mark.parametrize("force", [False, True])
def test_the_source_is_never_an_output(tmp_path, force):
    source = tmp_path / "model.pt"
    source.touch()
    link = tmp_path / "link.wz"
    link.symlink_to(source)
    for output in (source, tmp_path / "." / "model.pt", link):
        with pytest.raises(OutputError, match="are the same file"):
            check_output(output, sources=[source], force=force)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_refused(tmp_path, force):
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, force=force)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(OutputError, match="no such folder; create it first"):
        check_output(tmp_path / "missing" / "out.wz")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        check_output(tmp_path / "file" / "out.wz")


def test_a_name_too_long_is_refused(tmp_path):
    with pytest.raises(OutputError, match="choose another name"), atomic_path(tmp_path / ("x" * 300)) as temporary:
        check_output(temporary.with_name("x" * 300))


def test_a_name_of_long_characters_is_no_name_too_long(tmp_path):
    target = tmp_path / ("ü" * 120 + ".wz")
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    with pytest.raises(OutputError, match="choose another name"):
        check_output(tmp_path / "a\0b")


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_not_replaced(tmp_path, force):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="is a device or the like"):
        check_output(tmp_path / "pipe", force=force)


def test_a_link_to_nowhere_is_there_already(tmp_path):
    (tmp_path / "link.wz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        check_output(tmp_path / "link.wz")
    check_output(tmp_path / "link.wz", force=True)


def _write_late(target):
    with atomic_path(target, force=False) as temporary:
        temporary.write_bytes(b"new")
        target.write_bytes(b"precious")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_stays(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", _refuse)
    target = tmp_path / "out.wz"
    with pytest.raises(OutputError, match="exists already"):
        _write_late(target)
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def _refuse(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_without_force_a_new_file_is_written_all_the_same(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", _refuse)
    target = tmp_path / "out.wz"
    with atomic_path(target, force=False) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_space_is_checked_against_the_disk_of_the_output(tmp_path):
    check_space(tmp_path / "out.wz", 1)
    with pytest.raises(OutputError, match="needs 1,152,921,504,606,846,976 bytes, but only"):
        check_space(tmp_path / "out.wz", 1 << 60)
