"""Modules with inputs that resemble each other, and what a beginning makes of them."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from weightzip.adapt.network import Network
from weightzip.adapt.start import Beginning
from weightzip.checkpoint import from_object


@dataclass
class Given:
    """A task of this module and these inputs."""

    module: nn.Module
    inputs: Any
    name: str = "given"
    metric: str = "points"

    def model(self):
        return copy.deepcopy(self.module)

    def evaluate(self, model):
        return 0.0

    def calibration(self):
        return self.inputs


def begun(module, *batches, without=()):
    """The beginning of an adaptation of all the module's tensors of real numbers, but for some of them."""
    checkpoint = from_object(module.state_dict())
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if tensor.is_floating_point()}
    kept = {name: tensor for name, tensor in tensors.items() if name not in without}
    return Beginning.of(Network(Given(module, batches), checkpoint, "cpu"), kept, batches, "calibration")


def decoded(latents, values, steps):
    """The tensors that the nearest symbols stand for."""
    sizes = latents.symbol_steps(steps)[latents.index]
    return latents.decode((values / sizes).round() * sizes)


def relative_error(beginning, tensors, inputs):
    network = beginning.network
    wanted = network.original_outputs(inputs, "calibration")
    found = network.outputs(tensors, inputs, "calibration")
    return float((found - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean())


def resembling(count, columns, decay=0.9, seed=0):
    """Inputs [count, columns] that resemble their neighbours, of mean 0.5."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.cholesky(decay ** np.abs(np.subtract.outer(np.arange(columns), np.arange(columns))))
    return torch.from_numpy(rng.normal(size=(count, columns)) @ mixing.T + 0.5).float()


def tangled(count, columns, seed=0):
    """Inputs [count, columns] that a few causes have in common: no cosine transform tells them apart."""
    rng = np.random.default_rng(seed)
    causes = max(2, columns // 6)
    common = rng.normal(size=(count, causes)) @ rng.normal(size=(causes, columns)) / causes**0.5
    return torch.from_numpy(common + 0.3 * rng.normal(size=(count, columns))).float()


def waves(count, channels, length):
    """Inputs [count, channels, about length] of the same kind, each channel an echo of itself."""
    values = tangled(count * length, channels).view(count, length, channels).transpose(1, 2).reshape(-1, 1, length)
    echo = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 5))).float()
    return nn.functional.conv1d(values, echo).view(count, channels, -1)


def smooth(*shape, axis):
    """Weights that resemble their neighbours along an axis."""
    mixing = np.linalg.cholesky(0.99 ** np.abs(np.subtract.outer(np.arange(shape[axis]), np.arange(shape[axis]))))
    values = np.tensordot(mixing, np.random.default_rng(0).normal(size=shape), axes=(1, axis))
    return torch.from_numpy(0.1 * np.ascontiguousarray(np.moveaxis(values, 0, axis))).float()


def dense():
    return nn.Sequential(nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 5))


def convolutional():
    convolutions = nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()
    return nn.Sequential(nn.Unflatten(1, (2, 6, 6)), *convolutions, nn.Flatten(), nn.Linear(32, 5))


def normed():
    module = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8))
    module(resembling(300, 12))  # which leaves a tenth of their statistics
    return module.eval()
