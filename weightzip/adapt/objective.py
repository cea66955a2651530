"""What training minimises besides the bits: the task's own loss, or how far outputs are from those of the original model.

The original model knows what to answer to any input. So outputs can be matched on mixtures of the inputs as well, of which
there are far more: with 5,000 images that makes the difference between a model that has learned them by heart and one that
still does its task (mixup, Zhang et al. 2018; with a teacher, Beyer et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from weightzip.adapt.network import Network
from weightzip.errors import TaskError
from weightzip.tasks import Batch, Task, map_tensors, tensors_in_batch
from weightzip.tasks.messages import describe_error, prints_go_to_stderr

Weights = Mapping[str, Tensor]
_MOST_OF_ANOTHER = 0.5  # share of the second input in a mixture
_DECIDED = 0.5  # share of the largest entropy, below which scores are those of a classifier
_SMALLEST_POWER = 1e-12
_LEAST_LOG = -1e4  # of a probability; scores may be masked


@dataclass(frozen=True, eq=False)
class Matching:
    """Matches the original's outputs. Class scores by the divergence of what they say, everything else by relative square
    error.

    A task may say itself how far outputs are apart, by a method divergence(outputs, originals) that gives a scalar.

    source: the task's method that gives the inputs. class_axes: per output tensor, the axis of its classes, or None.
    """

    network: Network
    source: str
    class_axes: tuple[int | None, ...]

    @staticmethod
    def on(network: Network, source: str, inputs: Batch) -> Matching:
        """Decided by the original's outputs for some inputs. Raises TaskError where those hold nothing to match."""
        outputs = _floating(network.original_outputs(network.placed(inputs), source))
        if not outputs:
            raise TaskError(
                f"task {network.task.name}: the model's outputs hold no floating-point tensor, so none can be matched"
            )
        return Matching(network, source, tuple(map(_class_axis, outputs)))

    def loss(self, weights: Weights, inputs: Batch) -> Tensor:
        """Mean over the output tensors, a scalar."""
        originals = self.network.original_outputs(inputs, self.source)
        outputs = self.network.outputs(weights, inputs, self.source)
        own = getattr(self.network.task, "divergence", None)
        if callable(own):
            return _scalar(self.network.task.name, "divergence", own, outputs, originals)
        wanted, found = _floating(originals), _floating(outputs)
        name = self.network.task.name
        if [tensor.shape for tensor in found] != [tensor.shape for tensor in wanted] or len(found) != len(self.class_axes):
            raise TaskError(f"task {name}: the model's outputs vary in number or shape; give the task a divergence()")
        loss = torch.stack([_difference(*each) for each in zip(found, wanted, self.class_axes, strict=True)]).mean()
        if not loss.requires_grad:
            raise TaskError(f"task {name}: the model's outputs have no gradient; it must not compute without one")
        return loss


@dataclass(frozen=True, eq=False)
class TaskLoss:
    """The task's own loss against its targets."""

    network: Network
    task_loss: Callable[[Any, Any], Any]

    def loss(self, weights: Weights, pair: tuple[Batch, Batch]) -> Tensor:
        """For (inputs, targets), a scalar. Raises TaskError where the task does, or gives something else."""
        inputs, targets = pair
        outputs = self.network.outputs(weights, inputs, "training")
        return _scalar(self.network.task.name, "loss", self.task_loss, outputs, targets)


def _scalar(name: str, method: str, function: Callable[[Any, Any], Any], outputs: Batch, wanted: Batch) -> Tensor:
    """What a method of the task makes of the outputs. Raises TaskError where it does, or where that is no scalar tensor."""
    with prints_go_to_stderr():
        try:
            value = function(outputs, wanted)
        except (Exception, SystemExit) as error:
            raise TaskError(f"task {name}: {method}() raised {describe_error(error)}") from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise TaskError(f"task {name}: {method}() must give a scalar tensor that depends on the outputs it is given")
    return value.reshape(())


def own_loss(task: Task) -> Callable[[Any, Any], Any] | None:
    """The task's loss, if it has one."""
    found = getattr(task, "loss", None)
    return found if callable(found) else None


def mixed(inputs: Batch, others: Batch, generator: torch.Generator) -> Batch:
    """Inputs mixed with others of their shapes, each example in a share of its own; as they are where that makes no sense."""
    tensors, partners = tensors_in_batch(inputs), tensors_in_batch(others)
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in partners]:
        return inputs
    if not all(tensor.is_floating_point() and tensor.dim() for tensor in tensors):
        return inputs  # words, say, or masks
    if len({len(tensor) for tensor in tensors}) != 1:
        return inputs
    if not all(bool(tensor.isfinite().all()) for tensor in (*tensors, *partners)):
        return inputs  # masks again
    share = _MOST_OF_ANOTHER * torch.rand(len(tensors[0]), generator=generator).to(tensors[0].device)
    order = torch.randperm(len(tensors[0]), generator=generator).to(tensors[0].device)
    rest = iter(partners)

    def mix(tensor: Tensor) -> Tensor:
        weight = share.to(tensor.dtype).reshape(-1, *[1] * (tensor.dim() - 1))
        return torch.lerp(tensor, next(rest)[order], weight)

    return map_tensors(mix, inputs)


def _floating(outputs: Batch) -> list[Tensor]:
    return [tensor for tensor in tensors_in_batch(outputs) if tensor.is_floating_point() and tensor.numel()]


def _class_axis(outputs: Tensor) -> int | None:
    """The axis along which outputs are scores of classes: where a softmax has decided, in the mean over the examples."""
    axes = [axis for axis in {1, outputs.dim() - 1} if 0 < axis < outputs.dim() and outputs.shape[axis] > 1]
    entropies = {axis: _relative_entropy(outputs.float(), axis) for axis in axes}
    best = min(entropies, key=lambda axis: (entropies[axis], axis), default=None)
    return best if best is not None and entropies[best] < _DECIDED else None


def _relative_entropy(scores: Tensor, axis: int) -> float:
    entropy = torch.special.entr(functional.softmax(scores, axis)).sum(axis).mean()
    return float(entropy) / math.log(scores.shape[axis])


def _difference(found: Tensor, wanted: Tensor, class_axis: int | None) -> Tensor:
    """The Kullback-Leibler divergence per decision in nats, or the square error relative to the outputs' power."""
    if class_axis is None:
        known = wanted.isfinite()  # what is masked is no number
        power = wanted[known].float().square().mean() + _SMALLEST_POWER
        return (found[known].float() - wanted[known].float()).square().mean() / power
    before, after = (functional.log_softmax(scores.float(), class_axis).clamp(min=_LEAST_LOG) for scores in (wanted, found))
    return (before.exp() * (before - after)).sum(class_axis).mean()
