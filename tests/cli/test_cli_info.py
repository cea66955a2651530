import pytest
import torch


def test_info_shows_where_every_byte_went(run, packed, folder):
    result = run("info", packed)
    assert (result.code, result.err) == (0, "")
    size = f"{(folder / packed).stat().st_size:,}"
    assert any(line.split() == ["all", size, "100.0"] for line in result.out.splitlines())
    rows = {cells[0]: cells for cells in map(str.split, result.out.splitlines()) if cells}
    assert rows["0.weight"][3:] == ["8,192", "32x64", "float32", "lossy"]
    assert float(rows["0.weight"][2]) == pytest.approx(8 * int(rows["0.weight"][1].replace(",", "")) / 2048, abs=0.01)


def test_the_tensors_and_what_they_share_sum_to_the_file(run, packed, folder):
    lines = run("info", packed).out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:2] == ["tensor", "stored"])
    rows = [line.replace("shared by all", "shared").split() for line in lines[start + 1 :] if line.strip(" ─")]
    sizes = {row[0]: int(row[1].replace(",", "")) for row in rows}
    assert list(sizes) == ["0.weight", "0.bias", "2.weight", "2.bias", "shared", "all"]
    assert sizes.pop("all") == sum(sizes.values()) == (folder / packed).stat().st_size
    assert sizes["0.weight"] > sizes["2.weight"] > sizes["2.bias"] > 0


def test_info_json_sums_to_the_file(run, packed, folder):
    summary = run("info", packed, "--json").json
    assert sum(summary["sections"].values()) == summary["file_bytes"] == (folder / packed).stat().st_size
    assert [tensor["name"] for tensor in summary["tensor_list"]] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    stored = [tensor["stored_bytes"] for tensor in summary["tensor_list"]]
    assert min(stored) > 0 < summary["shared_bytes"]
    assert sum(stored) + summary["shared_bytes"] == pytest.approx(summary["file_bytes"])


def test_the_papers_decoder_is_shared_by_all(run, paper):
    summary = run("info", paper, "--json").json
    assert summary["shared_bytes"] > summary["sections"]["decoder"] + summary["sections"]["header"]
    assert "shared by all" in run("info", paper).out


def test_info_agrees_with_compress(run, model):
    compressed = run("compress", model, "--json").json
    stored = run("info", "model.wz", "--json").json
    assert stored.pop("seconds") >= 0
    assert stored.pop("relative_mse") == pytest.approx(compressed["relative_mse"], rel=1e-3)  # stored with four digits
    assert stored.pop("max_abs_error") == pytest.approx(compressed["max_abs_error"], rel=1e-3)
    assert stored.items() <= compressed.items()


def test_both_ratios_of_the_paper_preset(run, paper):
    for command in ("info", "test"):
        (line,) = (line for line in run(command, paper).out.splitlines() if "latents only" in line)
        assert "whole file: " in line
        assert "latents only (the paper's accounting): 18.8x" in line


def test_test_says_ok_and_writes_nothing(run, packed, listing):
    before = listing()
    result = run("test", packed)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("model.wz: OK, ")
    assert listing() == before


def test_test_json_and_memory(run, packed):
    assert run("test", packed, "--json").json["tensors"] == 4
    assert run("test", packed, "--memory", "1kB").code == 4


def test_names_from_a_file_cannot_steer_the_terminal(run):
    torch.save({"a\x1b[31m[bold]b\n": torch.zeros(4)}, "model.pt")
    run("compress", "model.pt")
    result = run("info", "model.wz")
    assert "\x1b" not in result.out
    assert r"a\x1b[31m[bold]b\n" in result.out


def test_long_names_are_not_cut_where_no_one_sees_a_terminal(run):
    name = "encoder." * 12 + "weight"
    torch.save({name: torch.zeros(4)}, "model.pt")
    run("compress", "model.pt")
    assert name in run("info", "model.wz").out
