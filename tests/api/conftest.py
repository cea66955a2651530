"""What the tests of the Python interface share: a checkpoint on disk, a folder of its own, a task without a file."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from weightzip.vae import VAESettings

if TYPE_CHECKING:
    from hub_server import Hub, Server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder for every test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def listing_of(folder: Path) -> Callable[[], list[str]]:
    """What is in the folder, hidden files included."""
    return lambda: sorted(path.name for path in folder.iterdir())


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A state dict with an alias, integers, half precision and a NaN."""
    weight = torch.randn(40, 50)
    return OrderedDict(
        {
            "module.layer.weight": weight,
            "module.layer.bias": torch.randn(40),
            "module.tied.weight": weight,
            "module.half": torch.randn(30).half(),
            "module.steps": torch.tensor(12345),
            "module.nan": torch.tensor([float("nan"), 1.0]),
        }
    )


@pytest.fixture
def source(folder: Path, state: dict[str, Tensor]) -> Path:
    """The state dict on disk, as torch.save writes it."""
    path = folder / "net.pt"
    torch.save(state, path)
    return path


@pytest.fixture
def tiny_vae() -> VAESettings:
    return VAESettings(chunk=64, latent=4, copies=4, validation_copies=2, epochs=3)


@pytest.fixture(scope="session")
def hub_server() -> Iterator["Server"]:
    from hub_server import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture
def hub(hub_server: "Server", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Hub":
    """What Hugging Face's library takes for its hub, and an empty cache for it."""
    from hub_server import Hub
    from huggingface_hub import constants

    template = hub_server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub_server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    hub_server.hub = Hub()
    return hub_server.hub


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to take the network away."""

    def take_away() -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return take_away


class Task:
    """Its metric falls smoothly as a linear layer's weights move away from what they were."""

    name = "stay where you are"
    metric = "closeness, points"

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.clone()

    def model(self) -> nn.Module:
        return nn.Linear(self._weight.shape[1], self._weight.shape[0], bias=False)

    def evaluate(self, model: nn.Module) -> float:
        weight = model.state_dict()["weight"]
        return 100 - 100 * float((weight - self._weight).square().mean().sqrt())


@pytest.fixture
def task() -> Callable[[Tensor], Task]:
    return Task
