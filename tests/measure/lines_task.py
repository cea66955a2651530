"""A task and a checkpoint of a few hundred weights, with hostile names; for the tests of measuring and of reports."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from weightzip.vae import VAESettings

VAE = VAESettings(chunk=64, latent=4, hidden=4, copies=4, validation_copies=2, epochs=3)  # trained in no time

_TASK = """
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


def write_task(folder: Path) -> str:
    """Write the task; returns how it is named."""
    path = folder / "lines.py"
    path.write_text(_TASK)
    return f"{path}:Lines"


def write_checkpoint(folder: Path) -> Path:
    """A network that does its task well: four of its hidden units copy the inputs that matter."""
    generator = torch.Generator().manual_seed(0)
    state = {"0.weight": 0.01 * torch.randn(12, 16, generator=generator), "0.bias": torch.full((12,), 4.0)}
    state |= {"2.weight": 0.01 * torch.randn(4, 12, generator=generator), "2.bias": torch.zeros(4)}
    state["0.weight"][:4, :4] += torch.eye(4)
    state["2.weight"][:4, :4] += torch.eye(4)
    path = folder / "a$b$<i>.safetensors"
    save_file(state, path)
    return path


class Fragile:
    """A task with a metric of its own kind, undefined for weights that are off by more than `tolerated`."""

    name, metric = "fragile", "negative perplexity"

    def __init__(self, tolerated: float) -> None:
        self._tolerated = tolerated
        self._first: torch.Tensor | None = None

    def model(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))

    def evaluate(self, model: torch.nn.Module) -> float:
        weight = model[0].weight
        self._first = weight.clone() if self._first is None else self._first
        return -1.5 if float((weight - self._first).abs().max()) <= self._tolerated else float("nan")
