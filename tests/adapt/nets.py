"""Models that are not in the zoo, trained here: a convolutional net with batch norm, and a transformer encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightzip.zoo.data import Images, mnist
from weightzip.zoo.tasks import accuracy


class NormedConvolutions(nn.Module):
    """Four convolutions without biases, each with batch norm; the last two with stride 2: about 74,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_normed(1, 16), *_normed(16, 32), *_normed(32, 48, 2), *_normed(48, 96, 2))
        self.classifier = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layers(functional.max_pool2d(images, 2))  # [N, 96, 4, 4]
        return self.classifier(features.mean((2, 3)))


def _normed(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class PatchEncoder(nn.Module):
    """A transformer encoder over 16 patches of 7 x 7 pixels: two layers of width 64, about 72,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(49, 64)
        self.place = nn.Parameter(0.02 * torch.randn(16, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = functional.unfold(images, 7, stride=7).transpose(1, 2)  # [N, 16, 49]
        return self.classifier(self.encoder(self.embed(patches) + self.place).mean(1))


@dataclass(frozen=True)
class ImageTask:
    """MNIST with a model of one's own; the last 5,000 training images are left out, and evaluation is on the test set."""

    name: str
    build: Callable[[], nn.Module]
    metric: str = "top-1 accuracy, %"

    def model(self) -> nn.Module:
        return self.build()

    def evaluate(self, model: nn.Module) -> float:
        return accuracy(model, mnist(train=False))

    def calibration(self) -> Iterable[Tensor]:
        return (images for images, _ in islice(_training_images().batches(100, torch.Generator().manual_seed(1)), 50))

    def training(self) -> Iterable[tuple[Tensor, Tensor]]:
        return _training_images().batches(128, torch.Generator().manual_seed(1))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)


NORMED = ImageTask("normed convolutions", NormedConvolutions)
PATCHES = ImageTask("patch encoder", PatchEncoder)


def trained(task: ImageTask, passes: int = 5) -> dict[str, Tensor]:
    """The state dict of the task's model, trained with Adam for some passes."""
    torch.manual_seed(0)
    model = task.model()
    optimiser = torch.optim.Adam(model.parameters())
    steps = passes * len(list(task.training()))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(passes):
        for images, labels in task.training():
            optimiser.zero_grad()
            task.loss(model(images), labels).backward()
            optimiser.step()
            schedule.step()
    return model.state_dict()


def _training_images() -> Images:
    data = mnist(train=True)
    return Images(data.images[:-5000], data.labels[:-5000])
