"""The fair opponents of fine-tuning: pruning and uniform quantisation, trained on with the same batches and loss.

    weights --what the method leaves of them--> module --> loss; what was learned is coded by the method

Gradients pass the rounding of quantisation unchanged, and pruning only where it leaves a weight. Pruning with retraining: Han
et al. 2015. Quantisation-aware training with a straight-through estimator: Jacob et al. 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from weightzip.adapt.network import Network
from weightzip.baselines import MagnitudePruning, UniformQuantisation
from weightzip.baselines.prune import survivors
from weightzip.baselines.tensors import split
from weightzip.baselines.uniform import fit_steps
from weightzip.errors import TaskError
from weightzip.progress import Progress, ProgressEvent

_REFIT = 50  # steps of the optimiser after which step sizes are fitted anew
_LEARNING_RATE = 1e-3
_WARM_UP = 100
Weights = Mapping[str, Tensor]
Left = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def retrained(
    network: Network,
    tensors: Weights,
    codec: MagnitudePruning | UniformQuantisation,
    objective: Any,
    batches: Iterator[Any],
    steps: int,
    progress: Progress,
) -> dict[str, Tensor]:
    """The tensors after so many steps of training with the codec in the loop; float32 on the CPU, for the codec to code."""
    learned = {name: tensor.to(network.device).clone() for name, tensor in tensors.items()}
    parameters = [tensor.requires_grad_() for name, tensor in learned.items() if name in network.trained]
    left = _pruned(learned, codec) if isinstance(codec, MagnitudePruning) else _Quantised(codec)
    optimiser = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _rate(step, steps)
        loss = objective.loss(left(learned), next(batches))
        if not math.isfinite(float(loss.detach())):
            raise TaskError(f"task {network.task.name}: the loss is not a number while a baseline is trained")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        progress(ProgressEvent("training", step + 1, steps))
    with torch.no_grad():
        final = left(learned) if isinstance(codec, MagnitudePruning) else learned
        return {name: tensor.detach().cpu() for name, tensor in final.items()}


def _rate(step: int, steps: int) -> float:
    return _LEARNING_RATE * min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _pruned(weights: Weights, codec: MagnitudePruning) -> Left:
    """What is left of weights whose smallest ones stay zero."""
    matrices, _ = split({name: tensor.detach().cpu() for name, tensor in weights.items()})
    kept = {
        name: torch.from_numpy(mask).view(weights[name].shape).to(weights[name].device)
        for name, mask in survivors(matrices, codec.sparsity, codec.scope).items()
    }
    return lambda current: {name: tensor * kept[name] if name in kept else tensor for name, tensor in current.items()}


class _Quantised:
    """What is left of weights that are rounded as the codec would do it."""

    def __init__(self, codec: UniformQuantisation) -> None:
        self._codec, self._calls = codec, 0
        self._steps: dict[str, Tensor] = {}

    def __call__(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._calls % _REFIT == 0:
            self._fit(weights)
        self._calls += 1
        return {name: self._rounded(name, tensor) if name in self._steps else tensor for name, tensor in weights.items()}

    def _fit(self, weights: dict[str, Tensor]) -> None:
        matrices, _ = split({name: tensor.detach().cpu() for name, tensor in weights.items()})
        for name, matrix in matrices.items():
            rows = matrix if self._codec.granularity == "channel" else matrix.reshape(1, -1)
            steps = torch.from_numpy(fit_steps(rows, self._codec.bits)).to(weights[name].device)
            self._steps[name] = steps.clamp(min=1e-12).reshape(-1, *[1] * (weights[name].dim() - 1))

    def _rounded(self, name: str, weight: Tensor) -> Tensor:
        steps, lowest = self._steps[name], -(2 ** (self._codec.bits - 1))
        rounded = (weight.detach() / steps).round().clamp(lowest, -lowest - 1) * steps
        return weight + (rounded - weight.detach())
