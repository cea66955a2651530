"""The zoo's tasks: a reference model, MNIST, and accuracy on its test set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightzip.zoo.data import Images, mnist
from weightzip.zoo.registry import entry

_EVALUATION_BATCH = 500
_CALIBRATION_BATCH = 100
_CALIBRATION_BATCHES = 50
_TRAINING_BATCH = 128


@torch.no_grad()
def accuracy(model: nn.Module, data: Images) -> float:
    """Images of `data` that `model` classifies rightly, in percent; the model's training mode is put back."""
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    correct = 0
    for images, labels in data.batches(_EVALUATION_BATCH):
        predicted = model(images.to(device)).argmax(dim=1).cpu()  # [batch]
        correct += int((predicted == labels).sum())
    model.train(was_training)
    return 100 * correct / len(data)


@dataclass(frozen=True)
class ZooTask:
    """The task `zoo:NAME`; it has the members of `weightzip.tasks.Task`.

    model_name: one of the registry's names.
    seed: of the order in which calibration and training images come; each pass gives the same order.
    """

    model_name: str
    seed: int = 0
    metric: str = "top-1 accuracy, %"

    @property
    def name(self) -> str:
        """The name under which `--task` finds this task."""
        return f"zoo:{self.model_name}"

    def model(self) -> nn.Module:
        """The reference model, untrained."""
        return entry(self.model_name).build()

    def evaluate(self, model: nn.Module) -> float:
        """Accuracy on the 10,000 test images, in percent."""
        return accuracy(model, mnist(train=False))

    def calibration(self) -> Iterable[Tensor]:
        """5,000 training images without their labels, in batches [100, 1, 28, 28]."""
        batches = mnist(train=True).batches(_CALIBRATION_BATCH, self._generator())
        return (images for images, _ in islice(batches, _CALIBRATION_BATCHES))

    def training(self) -> Iterable[tuple[Tensor, Tensor]]:
        """One pass over the 60,000 training images in batches ([128, 1, 28, 28], [128])."""
        return mnist(train=True).batches(_TRAINING_BATCH, self._generator())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy (nats) of class scores [N, 10] against labels [N]."""
        return functional.cross_entropy(outputs, targets)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)
