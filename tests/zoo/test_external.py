import urllib.error
import urllib.request

import pytest
from torchvision.transforms import ToTensor

from weightzip.errors import TaskError, UsageError
from weightzip.zoo.data import unpack_mnist
from weightzip.zoo.external import torchvision_dataset


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and nothing downloaded before."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_dataset_without_files():
    dataset = torchvision_dataset("FakeData", train=True, size=5, image_size=(3, 8, 8), transform=ToTensor())
    assert len(dataset) == 5
    assert dataset[0][0].shape == (3, 8, 8)


@pytest.mark.parametrize(("train", "num_images"), [(True, 60_000), (False, 10_000)])
def test_dataset_that_is_there(tmp_path, offline, train, num_images):
    unpack_mnist(tmp_path)
    assert len(torchvision_dataset("MNIST", train=train, root=tmp_path)) == num_images


def test_dataset_whose_base_class_knows_the_part(tmp_path, offline):
    unpack_mnist(tmp_path)
    raw = (tmp_path / "MNIST").rename(tmp_path / "EMNIST") / "raw"
    for path in list(raw.iterdir()):
        path.rename(raw / f"emnist-mnist-{path.name.replace('t10k', 'test')}")
    assert len(torchvision_dataset("EMNIST", train=False, root=tmp_path, split="mnist")) == 10_000


def test_dataset_with_parts_of_other_names(tmp_path, offline):
    with pytest.raises(UsageError, match="'ImageNet' cannot be built: Unknown value 'test' for argument split"):
        torchvision_dataset("ImageNet", train=False, root=tmp_path)


@pytest.mark.parametrize("name", ["CIFAR10", "KMNIST", "SVHN"])
def test_dataset_without_network(tmp_path, offline, capsys, name):
    with pytest.raises(TaskError, match=f"'{name}' cannot be downloaded: .*; connect to the network") as caught:
        torchvision_dataset(name, train=True, root=tmp_path)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_unknown_dataset():
    with pytest.raises(UsageError, match="no such dataset; did you mean CIFAR10"):
        torchvision_dataset("CIFAR1O", train=True)


def test_helper_functions_are_no_datasets():
    with pytest.raises(UsageError, match="no such dataset"):
        torchvision_dataset("wrap_dataset_for_transforms_v2", train=True)


def test_unknown_option_of_a_dataset(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be built: .*unexpected keyword argument 'sise'"):
        torchvision_dataset("FakeData", train=True, root=tmp_path, sise=5)
