import os
import signal

import pytest

from weightzip.cli import demo_steps

MARKER = "made-by-weightzip-demo.txt"


def test_a_folder_with_other_files_is_refused(run, folder):
    (folder / "work").mkdir()
    (folder / "work" / "thesis.tex").write_text("precious")
    result = run("demo", "-o", "work")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: work: holds other files; name another folder with -o, or use -f\n"
    assert [path.name for path in (folder / "work").iterdir()] == ["thesis.tex"]


def test_a_file_in_the_folders_place_is_refused(run, folder):
    (folder / "work").write_text("precious")
    result = run("demo", "-o", "work")
    assert (result.code, result.err) == (1, "error: work: is a file; name a folder with -o\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("target", ["weightzip-demo", "not/yet/there"])
def test_an_interruption_leaves_nothing(run, listing, monkeypatch, number, target):
    seen = []

    def stop(original, *arguments):
        seen.extend(path.name for path in original.parent.iterdir())
        os.kill(os.getpid(), number)

    monkeypatch.setattr(demo_steps, "curve", stop)
    monkeypatch.setattr(demo_steps, "VARIANTS", demo_steps.VARIANTS[:1])
    result = run("demo", "-o", target, "-q")
    assert (result.code, result.out, result.err) == (128 + number, "", "interrupted\n")
    assert {MARKER, "mnist-fnn.safetensors", "mnist-fnn-default.wz", "mnist-fnn-default-restored.safetensors"} == set(seen)
    assert listing() == []


def test_an_interruption_leaves_an_earlier_demo_as_it_was(run, folder, monkeypatch):
    earlier = folder / "weightzip-demo"
    earlier.mkdir()
    for name in (MARKER, "mnist-fnn.safetensors", "notes.txt"):
        (earlier / name).write_text("earlier")
    monkeypatch.setattr(demo_steps, "there_and_back", lambda *arguments: os.kill(os.getpid(), signal.SIGINT))
    assert run("demo", "-q").code == 128 + signal.SIGINT
    assert {path.name for path in earlier.iterdir()} == {MARKER, "mnist-fnn.safetensors", "notes.txt"}
    assert {path.read_text() for path in earlier.iterdir()} == {"earlier"}


@pytest.mark.slow
def test_the_demo_twice(run, folder):
    for _ in range(2):
        result = run("demo", "--json")
        assert result.code == 0
    default, within_a_point, paper, *rest = result.json["points"]
    assert default["ratio"] > 10
    assert within_a_point["ratio"] > default["ratio"]
    assert within_a_point["original"] - within_a_point["value"] <= 1.0
    assert paper["latent_ratio"] > 30 > paper["ratio"]
    assert len({point["method"] for point in rest}) > 8
    assert len(result.json["zoo"]) == 5
    assert (folder / "weightzip-demo" / "curve.png").stat().st_size > 10_000
    sizes = {point["file_bytes"] for point in (default, within_a_point, paper)}
    assert sizes == {path.stat().st_size for path in (folder / "weightzip-demo").glob("mnist-fnn-*.wz")}
