"""Models from Hugging Face's hub, by the hub's own library talking to a small server of its own here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import INDEX, packed, sharded
from huggingface_hub import constants
from safetensors.torch import load_file

import weightzip
from weightzip.cli.main import execute
from weightzip.errors import CheckpointError, OutputError, UsageError
from weightzip.remote import Repository, default_output, download, fetched


def test_a_repository(hub, capfd):
    weights = packed("a", "b")
    hub.repositories["me/tiny"] = {"model.safetensors": weights, "pytorch_model.bin": b"no", "onnx/model.onnx": b"no"}
    assert execute(["compress", "hf:me/tiny", "--json", "--lossless"]) == 0
    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert (summary["input"], summary["output"], err) == ("hf:me/tiny", "tiny.wz", "")
    assert set(hub.files) == {"model.safetensors"}
    assert execute(["restore", "tiny.wz"]) == 0
    assert Path("model.safetensors").read_bytes() == weights


def test_shards_come_back_as_a_folder_of_the_repositorys_name(hub):
    hub.repositories["me/tiny"] = files = sharded()
    assert execute(["compress", "hf:me/tiny", "-o", "small.wz", "--lossless"]) == 0
    assert execute(["restore", "small.wz"]) == 0
    assert sorted(path.name for path in Path("tiny").iterdir()) == sorted(files.keys() - {"config.json"})
    for name in files.keys() - {INDEX, "config.json"}:
        assert (Path("tiny") / name).read_bytes() == files[name]


def test_torchs_format_where_there_is_no_other(hub):
    torch.save({"w": torch.randn(4, 4)}, "w.bin")
    hub.repositories["tiny"] = {"pytorch_model.bin": Path("w.bin").read_bytes(), "training_args.bin": b"no"}
    summary = weightzip.compress("hf:tiny", lossless=True)
    assert (summary["input"], summary["output"]) == ("hf:tiny", "tiny.wz")
    assert torch.equal(weightzip.restore("tiny.wz")["w"], torch.load("w.bin", weights_only=True)["w"])
    assert "training_args.bin" not in hub.files


def test_one_file_of_several(hub):
    hub.repositories["me/pipe"] = {"unet/x.safetensors": packed("u"), "vae/x.safetensors": packed("v")}
    with pytest.raises(CheckpointError, match=r"hf:me/pipe: holds no model\.safetensors.*such as hf:me/pipe/unet/x\.safe"):
        download("hf:me/pipe")
    snapshot = download("hf:me/pipe/vae/x.safetensors@v1")
    assert list(load_file(snapshot.folder / snapshot.main)) == ["v"]
    assert set(hub.files) == {"vae/x.safetensors"}
    with pytest.raises(CheckpointError, match=r"holds no file vae/y\.safetensors"):
        download("hf:me/pipe/vae/y.safetensors")


def test_a_repository_without_any_model(hub):
    hub.repositories["me/docs"] = {"README.md": b"nothing"}
    with pytest.raises(CheckpointError, match=r"hf:me/docs: holds no .*; name another repository"):
        download("hf:me/docs")


def test_the_cache_is_enough(hub, offline):
    hub.repositories["me/tiny"] = sharded()
    first = download("hf:me/tiny")
    offline()
    requests = hub.requests
    assert download("hf:me/tiny") == first
    assert hub.requests == requests


def test_a_server_that_fails_is_no_obstacle_to_the_cache(hub, monkeypatch):
    hub.repositories["me/tiny"] = {"model.safetensors": packed("a")}
    first = download("hf:me/tiny")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert download("hf:me/tiny") == first


def test_half_a_cache_is_not_enough(hub, offline):
    hub.repositories["me/tiny"] = sharded()
    snapshot = download("hf:me/tiny")
    (snapshot.folder / "model-2-of-2.safetensors").unlink()
    offline()
    with pytest.raises(CheckpointError, match=r"hf:me/tiny cannot be downloaded: .*; connect to the network, or give a local"):
        download("hf:me/tiny")


def test_an_index_that_asks_for_what_is_not_there(hub):
    hub.repositories["me/tiny"] = {name: data for name, data in sharded().items() if "2-of-2" not in name}
    with pytest.raises(CheckpointError, match=r"its model-2-of-2\.safetensors is not to be had"):
        download("hf:me/tiny")


def test_an_index_that_leads_elsewhere(hub):
    index = {"metadata": {}, "weight_map": {"a": "../../secret.safetensors"}}
    hub.repositories["me/bad"] = {INDEX: json.dumps(index).encode()}
    with pytest.raises(CheckpointError, match=r"is not the name of a \.safetensors file beside it"):
        download("hf:me/bad")


@pytest.mark.parametrize("name", ["../config.json", "a/../../config.json", "/config.json", "..\\config.json"])
def test_a_repository_whose_files_lead_elsewhere(hub, name):
    hub.repositories["me/bad"] = {"model.safetensors": packed("a"), name: b"{}"}
    with pytest.raises(CheckpointError, match=r"hf:me/bad: holds .*config\.json', a name that leads elsewhere"):
        download("hf:me/bad")
    assert hub.files == []


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("hf:me/missing", CheckpointError, "no such repository, or a private one; check the name, or log in"),
        ("hf:me/gated", CheckpointError, "is gated; accept its terms"),
        ("hf:me/tiny@v9", CheckpointError, "has no such revision"),
        ("hf:me/ti ny", UsageError, "names no repository: Repo id must use alphanumeric"),
        ("hf:", UsageError, "names no repository; write hf:ORG/NAME"),
        ("hf:me/tiny@", UsageError, "names no repository"),
        ("hf:me//tiny", UsageError, "names no repository"),
        ("hf:me/tiny/../../x", UsageError, "names no repository"),
    ],
)
def test_what_is_in_the_way_is_told_apart(hub, capfd, source, kind, says):
    hub.repositories |= {"me/tiny": {"model.safetensors": packed("a")}, "me/gated": {"model.safetensors": packed("a")}}
    hub.gated.add("me/gated")
    with pytest.raises(kind) as raised, fetched(source):
        pass
    assert str(raised.value).startswith(source)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    capfd.readouterr()
    assert execute(["compress", source]) == kind.exit_code
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


def test_an_output_that_exists_is_refused_before_anything_is_downloaded(hub):
    hub.repositories["me/tiny"] = {"model.safetensors": packed("a")}
    Path("tiny.wz").touch()
    assert execute(["compress", "hf:me/tiny"]) == 1
    with pytest.raises(OutputError, match=r"tiny\.wz: exists already"):
        weightzip.compress("hf:me/tiny")
    assert hub.requests == 0
    assert execute(["compress", "hf:me/tiny", "-f"]) == 0


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_a_network_it_is_one_line(tmp_path, environment):
    command = [sys.executable, "-m", "weightzip", "compress", "hf:me/tiny"]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "empty"), **environment}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert result.stderr.startswith("error: hf:me/tiny cannot be downloaded: ")
    assert result.stderr.endswith("; connect to the network, or give a local folder\n")


def test_without_the_library(monkeypatch):
    for name in ("huggingface_hub", "huggingface_hub.errors"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"hf:me/tiny: needs huggingface_hub.*pip install 'weightzip\[hub\]'"):
        download("hf:me/tiny")


@pytest.mark.parametrize("name", ["me/tiny", "me/tiny-v1.5", "me/Tiny2.5-0.5B-it"])
def test_a_repository_without_its_prefix(folder, capfd, name):
    assert execute(["compress", name]) == 1
    says = f"{name}: no such file; for the model on Hugging Face's hub write hf:{name}"
    assert capfd.readouterr().err == f"error: {says}\n"
    with pytest.raises(CheckpointError) as raised:
        weightzip.compress(name)
    assert str(raised.value) == says


@pytest.mark.parametrize("name", ["me/tiny", "me/model.pt"])
def test_what_is_no_repository(folder, capfd, name):
    Path("me/tiny").mkdir(parents=True)
    assert execute(["compress", name]) == 1
    assert "hf:" not in capfd.readouterr().err


def test_names():
    assert Repository.parse("hf:gpt2") == Repository("gpt2", None, None)
    assert Repository.parse("hf:me/a.b@refs/pr/3") == Repository("me/a.b", None, "refs/pr/3")
    assert default_output("hf:me/a.b@refs/pr/3") == Path("a.b.wz")
    assert default_output("torchvision:resnet18") == Path("resnet18.wz")
