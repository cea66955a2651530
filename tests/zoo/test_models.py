import pytest
import torch

from weightzip.zoo import entry, names
from weightzip.zoo.models import build

NUM_WEIGHTS = {
    "mnist-fnn": 185_300,
    "mnist-cnn": 122_270,
    "mnist-rnn": 54_538,
    "mnist-lstm": 214_282,
    "lenet-300-100": 266_610,
    "lenet-5": 431_080,
}


@pytest.mark.parametrize("name", names())
def test_parameter_counts(name):
    assert sum(parameter.numel() for parameter in build(name).parameters()) == NUM_WEIGHTS[name]
    assert entry(name).num_weights == NUM_WEIGHTS[name]


@pytest.mark.parametrize("name", names())
def test_images_become_class_scores(name):
    scores = build(name)(torch.zeros(3, 1, 28, 28))
    assert scores.shape == (3, 10)


def test_fnn_widths():
    shapes = [tuple(value.shape) for key, value in build("mnist-fnn").state_dict().items() if key.endswith("weight")]
    assert shapes == [(200, 784), (100, 200), (60, 100), (30, 60), (10, 30)]


def test_cnn_kernels():
    shapes = [tuple(value.shape) for key, value in build("mnist-cnn").state_dict().items() if key.endswith("weight")]
    assert shapes == [(4, 1, 5, 5), (8, 4, 5, 5), (12, 8, 4, 4), (200, 588), (10, 200)]


@pytest.mark.parametrize(("name", "gates"), [("mnist-rnn", 1), ("mnist-lstm", 4)])
def test_recurrent_models_see_every_row(name, gates):
    model = build(name)
    assert model.state_dict()["recurrent.weight_ih_l0"].shape == (128 * gates, 28)
    images = torch.randn(1, 1, 28, 28, requires_grad=True, generator=torch.Generator().manual_seed(0))
    model(images).sum().backward()
    assert (images.grad.abs().sum(dim=3) > 0).all()
