import pytest
from safetensors.torch import load_file

from weightzip.zoo import entry, names


def test_list(run):
    rows = run("zoo", "list", "--json").json
    assert [row["name"] for row in rows] == list(names())
    assert rows[0] == {
        "name": "mnist-fnn",
        "weights": 185_300,
        "checkpoint": str(entry("mnist-fnn").checkpoint),
        "value": 98.38,
    }


def test_list_as_a_table(run):
    lines = run("zoo", "list").out.splitlines()
    assert ["mnist-cnn", "122,270", "99.11"] in [line.split() for line in lines]
    assert lines[-1] == f"checkpoints: {entry('mnist-cnn').checkpoint.parent}/NAME.safetensors"


def test_eval_of_the_zoos_own_checkpoint(run):
    assert run("zoo", "eval", "mnist-fnn", "--json").json == {
        "name": "mnist-fnn",
        "metric": "top-1 accuracy, %",
        "value": 98.38,
    }


def test_eval_of_a_compressed_checkpoint(run):
    assert run("compress", entry("mnist-fnn").checkpoint, "-o", "small.wz", "-q").code == 0
    value = run("zoo", "eval", "mnist-fnn", "small.wz", "--json").json["value"]
    assert 97.5 < value < 99
    assert run("zoo", "eval", "mnist-fnn", "small.wz").out == f"small.wz: mnist-fnn, top-1 accuracy, %: {value:.2f}\n"


def test_train_refuses_an_existing_output(run, folder):
    (folder / "mnist-fnn.safetensors").write_bytes(b"precious")
    result = run("zoo", "train", "mnist-fnn")
    assert (result.code, result.out) == (1, "")
    assert (folder / "mnist-fnn.safetensors").read_bytes() == b"precious"


@pytest.mark.slow
def test_train(run):
    result = run("zoo", "train", "mnist-fnn", "--seed", 3, "-o", "mine.safetensors", "--json")
    assert result.json["value"] > 98.0
    assert load_file("mine.safetensors")["1.weight"].shape == (200, 784)
    assert run("zoo", "eval", "mnist-fnn", "mine.safetensors", "--json").json["value"] == result.json["value"]
