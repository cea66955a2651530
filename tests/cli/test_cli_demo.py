import pytest


def test_a_folder_with_other_files_is_refused(run, folder):
    (folder / "work").mkdir()
    (folder / "work" / "thesis.tex").write_text("precious")
    result = run("demo", "-o", "work")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: work: holds other files; name another folder with -o, or use -f\n"
    assert [path.name for path in (folder / "work").iterdir()] == ["thesis.tex"]


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
