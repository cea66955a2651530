"""Batch norms' running statistics, measured anew for weights that have been quantised."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from weightzip.adapt.network import Network
from weightzip.tasks import Batch, num_examples

_STATISTICS = ("running_mean", "running_var")


def names_of_statistics(network: Network) -> frozenset[str]:
    """The names, in the checkpoint, of the running statistics of the module's batch norms."""
    keys = {f"{prefix}.{name}".removeprefix(".") for prefix, _ in _batch_norms(network.module) for name in _STATISTICS}
    return frozenset(place.base for key, place in network.places.items() if key in keys and place.view.window is None)


@torch.no_grad()
def measured_statistics(
    network: Network, weights: Mapping[str, Tensor], inputs: Sequence[Batch], source: str
) -> dict[str, Tensor]:
    """The statistics of the module with these weights over all inputs, float32 on the CPU; none where it has no batch norm."""
    norms = _batch_norms(network.module)
    if not norms:
        return {}
    kept = network.module
    network.module = copy.deepcopy(kept)  # statistics are measured in place
    try:
        for _, norm in _batch_norms(network.module):
            norm.reset_running_stats()
            norm.momentum = None  # a mean over all batches
            norm.train()
        learned = {name: tensor for name, tensor in weights.items() if name not in names_of_statistics(network)}
        for batch in (batch for batch in inputs if (num_examples(batch) or 0) > 1):  # of one there is no variance
            network.outputs(learned, network.placed(batch), source)
        found = {
            f"{prefix}.{name}".removeprefix("."): getattr(norm, name)
            for prefix, norm in _batch_norms(network.module)
            for name in _STATISTICS
            if norm.num_batches_tracked  # the others have seen nothing
        }
    finally:
        network.module = kept
    measured = {network.places[key].base: tensor.float().cpu() for key, tensor in found.items() if key in network.places}
    return {name: tensor for name, tensor in measured.items() if bool(torch.isfinite(tensor).all())}


def _batch_norms(module: nn.Module) -> list[tuple[str, _BatchNorm]]:
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)]
    return [(name, layer) for name, layer in found if layer.running_mean is not None]
