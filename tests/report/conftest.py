"""A task and a checkpoint of a few hundred weights, and the report on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from weightzip.report import Report, make_report
from weightzip.tasks import Task
from weightzip.vae import VAESettings

VAE = VAESettings(chunk=64, latent=4, hidden=4, copies=4, validation_copies=2, epochs=3)

TASK = """
import torch

class Lines:
    name = "tell <b>lines</b> apart & count"
    metric = "accuracy <script>alert(1)</script>, %"

    def model(self):
        return torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))

    def evaluate(self, model):
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(400, 16, generator=generator)
        return 100 * (model(inputs).argmax(1) == inputs[:, :4].argmax(1)).float().mean().item()
"""


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "lines.py"
    path.write_text(TASK)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that does its task well: four of its hidden units copy the inputs that matter."""
    generator = torch.Generator().manual_seed(0)
    state = {"0.weight": 0.01 * torch.randn(12, 16, generator=generator), "0.bias": torch.full((12,), 4.0)}
    state |= {"2.weight": 0.01 * torch.randn(4, 12, generator=generator), "2.bias": torch.zeros(4)}
    state["0.weight"][:4, :4] += torch.eye(4)
    state["2.weight"][:4, :4] += torch.eye(4)
    path = tmp_path_factory.mktemp("model") / "a$b$<i>.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="session")
def make(checkpoint: Path, task_file: Path) -> Callable[..., Report]:
    """Makes a report in a folder, with a VAE that is trained in no time."""

    def make(folder: Path, task: Task | None = None, **options: object) -> Report:
        return make_report(checkpoint, task or f"{task_file}:Lines", folder, vae=VAE, **options)

    return make


@pytest.fixture(scope="session")
def report(make: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One report for all tests that only look at it."""
    return make(tmp_path_factory.mktemp("report") / "out")
