"""Tasks that are learned in a second: which of four numbers is the largest, for networks of several kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

_CLASSES, _EXAMPLES, _BATCH = 4, 1500, 50


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, _CLASSES))


class Recurrent(nn.Module):
    """Reads four numbers at a time."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.recurrent = kind(4, 24, batch_first=True)
        self.head = nn.Linear(24, _CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        states, _ = self.recurrent(numbers.view(-1, 4, 4))
        return self.head(states[:, -1])


class Words(nn.Module):
    """An encoder over 16 words out of eight, tied to nothing but its embedding, with attention and layer norms."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, 16)
        self.place = nn.Parameter(torch.randn(16, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(16, _CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(numbers) + self.place).mean(1))


class Normed(nn.Module):
    """Convolutions with batch norm over a 4 x 4 image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.head = nn.Linear(192, _CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(self.body(numbers.view(-1, 1, 4, 4)).flatten(1))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, _CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.head(functional.relu(self.second(functional.relu(self.first(numbers)))))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "dense": dense,
    "rnn": lambda: Recurrent(nn.RNN),
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "words": Words,
    "normed": Normed,
    "tied": Tied,
}


@dataclass
class Largest:
    """Which of the first four of 16 numbers is the largest; kind: of network."""

    kind: str = "dense"
    name: str = "largest of four"
    metric: str = "accuracy, %"
    evaluations: int = field(default=0, init=False)

    def model(self) -> nn.Module:
        return KINDS[self.kind]()

    def evaluate(self, model: nn.Module) -> float:
        self.evaluations += 1
        inputs, labels = self._data(seed=1)
        return 100 * float((model(inputs).argmax(1) == labels).float().mean())

    def calibration(self) -> Iterable[Tensor]:
        return (inputs for inputs, _ in self.training())

    def training(self) -> Iterable[tuple[Tensor, Tensor]]:
        inputs, labels = self._data(seed=2)
        return zip(inputs.split(_BATCH), labels.split(_BATCH), strict=True)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)

    def _data(self, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        if self.kind == "words":
            words = torch.randint(8, (_EXAMPLES, 16), generator=generator)
            return words, words[:, 0] // 2
        numbers = torch.randn(_EXAMPLES, 16, generator=generator)
        return numbers, numbers[:, :_CLASSES].argmax(1)


def trained(task: Largest, passes: int = 12) -> dict[str, Tensor]:
    """The state dict of a network that does the task well."""
    torch.manual_seed(0)
    model = task.model().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(passes):
        for inputs, labels in task.training():
            optimiser.zero_grad()
            task.loss(model(inputs), labels).backward()
            optimiser.step()
    return model.state_dict()
