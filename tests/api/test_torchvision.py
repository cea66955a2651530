"""Models of torchvision, as sources."""

import urllib.error
import urllib.request

import pytest
from torch import nn

from weightzip.errors import CheckpointError, UsageError
from weightzip.remote import fetched, torchvision_model


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """And nothing downloaded before."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_model_without_weights():
    model = torchvision_model("squeezenet1_1", weights=None)
    assert isinstance(model, nn.Module)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_235_496


def test_model_without_network(no_network):
    says = r"^torchvision:squeezenet1_1 cannot be downloaded: .*; connect to the network, or put its weights"
    with pytest.raises(CheckpointError, match=says) as caught, fetched("torchvision:squeezenet1_1"):
        pass
    assert "\n" not in str(caught.value)


def test_unknown_model():
    with pytest.raises(UsageError, match=r"no such model; did you mean .*resnet18"):
        torchvision_model("resnet-18")


def test_unknown_weights():
    with pytest.raises(UsageError, match="has no weights 'BEST'; choose from IMAGENET1K_V1, DEFAULT"):
        torchvision_model("squeezenet1_1", weights="BEST")
