import pytest
import torch


@pytest.fixture
def damaged(folder):
    """A checkpoint of 9,216 weights, a block of which has been overwritten with zeros."""
    weights = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    torch.save({"fc.weight": weights}, folder / "clean.pt")
    weights.view(-1)[640:704] = 0
    torch.save({"fc.weight": weights}, folder / "damaged.pt")
    return "damaged.pt"


def test_scan_tells_tensor_and_elements(run, damaged):
    result = run("scan", damaged, "--family", "dense")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("damaged.pt: 1 of 144 blocks flagged")
    assert "fc.weight" in result.out
    assert "640 to 703" in result.out


def test_scan_json(run, damaged):
    result = run("scan", damaged, "--family", "dense", "--json")
    assert result.json["blocks"] == 144
    (flag,) = result.json["flagged"]
    assert (flag["tensor"], flag["start"], flag["end"]) == ("fc.weight", 640, 704)
    assert flag["score"] > flag["limit"] > 0


def test_the_ensemble_is_the_default(run, damaged):
    found = run("scan", damaged, "--json").json
    assert found["family"] == "ensemble"
    assert found["flagged"][0]["start"] == 640


@pytest.mark.parametrize(("model", "code"), [("damaged.pt", 1), ("clean.pt", 0)])
def test_fail_on_flag(run, damaged, model, code):
    assert run("scan", model, "--family", "dense", "--fail-on-flag", "-q").code == code
    assert run("scan", model, "--family", "dense", "-q").code == 0


def test_against_an_earlier_checkpoint_and_its_wz_file(run, damaged):
    run("compress", "clean.pt", "-q")
    for earlier in ("clean.pt", "clean.wz"):
        found = run("scan", damaged, "--against", earlier, "--family", "dense", "--json").json
        assert [flag["start"] for flag in found["flagged"]] == [640]


def test_a_picture_is_drawn_and_not_overwritten(run, damaged, folder):
    assert run("scan", damaged, "--family", "dense", "-o", "scan.png").code == 0
    assert (folder / "scan.png").read_bytes().startswith(b"\x89PNG")
    result = run("scan", damaged, "--family", "dense", "-o", "scan.png")
    assert result.code == 1
    assert "use -f" in result.err
    assert run("scan", damaged, "--family", "dense", "-o", "scan.png", "-f", "-q").code == 0


def test_too_few_weights_are_an_answer(run):
    torch.save({"w": torch.zeros(4)}, "small.pt")
    result = run("scan", "small.pt", "--fail-on-flag")
    assert result.code == 0
    assert result.out == "small.pt: 0 of 1 blocks flagged\n"
    assert "too few" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.pt"], 1, "missing.pt"),
        (["damaged.pt", "--family", "denes"], 2, "did you mean dense?"),
        (["damaged.pt", "--against", "missing.wz"], 1, "missing.wz"),
        (["damaged.pt", "--against", "other.pt"], 1, "nothing can be compared"),
        (["damaged.pt", "-o", "damaged.pt"], 1, "same file"),
    ],
    ids=str,
)
def test_bad_input_is_told_in_a_line(run, damaged, arguments, code, words):
    torch.save({"w": torch.zeros(4)}, "other.pt")
    result = run("scan", *arguments)
    assert (result.code, result.out) == (code, "")
    assert words in result.err
    assert "Traceback" not in result.err
