"""The reference models' modules; all take images [N, 1, 28, 28] and return class scores [N, 10].

The first four are those of Cheng et al. (2024), "VAE-based Neural Network Model Compression", recovered from its
parameter counts; the two LeNets are those of Han et al. (2015), "Deep Compression".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

_SIDE = 28  # pixels; also the length of the sequences and the width of their steps
_NUM_CLASSES = 10


def dense(*widths: int) -> nn.Sequential:
    """Fully connected layers of these widths after a flattening, with ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        if index > 0:
            layers.append(nn.ReLU())
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def mnist_cnn() -> nn.Sequential:
    """Three convolutions, the last two with stride 2, and two dense layers: 122,270 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2),  # [N, 4, 28, 28]
        nn.ReLU(),
        nn.Conv2d(4, 8, 5, stride=2, padding=2),  # [N, 8, 14, 14]
        nn.ReLU(),
        nn.Conv2d(8, 12, 4, stride=2, padding=1),  # [N, 12, 7, 7]
        nn.ReLU(),
        nn.Flatten(),  # [N, 588]
        nn.Linear(588, 200),
        nn.ReLU(),
        nn.Linear(200, _NUM_CLASSES),
    )


def lenet_5() -> nn.Sequential:
    """Two convolutions with max pooling and two dense layers (Caffe's LeNet-5): 431,080 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),  # [N, 20, 24, 24]
        nn.ReLU(),
        nn.MaxPool2d(2),  # [N, 20, 12, 12]
        nn.Conv2d(20, 50, 5),  # [N, 50, 8, 8]
        nn.ReLU(),
        nn.MaxPool2d(2),  # [N, 50, 4, 4]
        nn.Flatten(),  # [N, 800]
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, _NUM_CLASSES),
    )


class RowReader(nn.Module):
    """Reads an image row by row through a recurrent network and classifies from its last state."""

    def __init__(self, recurrent: nn.RNN | nn.LSTM) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.classifier = nn.Linear(recurrent.hidden_size, _NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores [N, 10] of images [N, 1, 28, 28]."""
        states, _ = self.recurrent(images.squeeze(1))  # [N, 28, hidden]
        return cast(Tensor, self.classifier(states[:, -1]))


def mnist_rnn() -> RowReader:
    """A two-layer tanh RNN of width 128: 54,538 parameters."""
    return RowReader(nn.RNN(_SIDE, 128, num_layers=2, batch_first=True))


def mnist_lstm() -> RowReader:
    """A two-layer LSTM of width 128: 214,282 parameters."""
    return RowReader(nn.LSTM(_SIDE, 128, num_layers=2, batch_first=True))


_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "mnist-fnn": lambda: dense(784, 200, 100, 60, 30, _NUM_CLASSES),
    "mnist-cnn": mnist_cnn,
    "mnist-rnn": mnist_rnn,
    "mnist-lstm": mnist_lstm,
    "lenet-300-100": lambda: dense(784, 300, 100, _NUM_CLASSES),
    "lenet-5": lenet_5,
}


def build(name: str) -> nn.Module:
    """The module of the zoo's model `name` (a name of the registry), freshly initialised."""
    return _BUILDERS[name]()
