import pytest
import torch
from safetensors.torch import load_file

from weightzip.errors import OutputError, TaskError, UsageError
from weightzip.zoo import entry
from weightzip.zoo import train as training
from weightzip.zoo.data import Images, mnist
from weightzip.zoo.train import train


@pytest.fixture
def few_images(monkeypatch):
    """Leave 2,048 training images beside the validation images; lists the parts of MNIST as they are asked for."""
    asked = []

    def few(*, train):
        asked.append("train" if train else "test")
        data = mnist(train=train)
        return Images(data.images[:7_048], data.labels[:7_048])

    monkeypatch.setattr(training, "mnist", few)
    return asked


def test_training_learns_and_reports(few_images):
    events = []
    result = train("mnist-fnn", progress=events.append)
    assert result.accuracy > 80
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert events[-1].done == events[-1].total == 15 * 16
    assert events[-1].detail.startswith("epoch 15/15, loss 0.")
    assert len(result.epochs) == entry("mnist-fnn").recipe.epochs
    assert result.epochs[-1].loss < result.epochs[0].loss / 4
    assert result.epochs[-1].validation_accuracy > 80


def test_test_images_are_used_once_and_last(few_images):
    train("mnist-fnn", progress=lambda event: few_images.append("step"))
    assert few_images[0] == "train"
    assert few_images[-1] == "test"
    assert set(few_images[1:-1]) == {"step"}


def test_seed_decides_the_weights(few_images):
    before = torch.random.get_rng_state()
    first, again, other = (train("mnist-fnn", seed=seed).state for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_output_holds_the_weights(few_images, tmp_path):
    result = train("mnist-fnn", output=tmp_path / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(result.state)
    assert all(torch.equal(saved[key], value) for key, value in result.state.items())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_existing_output_is_refused_before_training(few_images, tmp_path):
    output = tmp_path / "model.safetensors"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        train("mnist-fnn", output=output)
    assert few_images == []
    assert output.read_bytes() == b"precious"


def test_divergence_leaves_no_output(monkeypatch, tmp_path):
    nothing = Images(torch.full((5_100, 1, 28, 28), torch.nan), torch.zeros(5_100, dtype=torch.int64))
    monkeypatch.setattr(training, "mnist", lambda *, train: nothing)
    with pytest.raises(TaskError, match="diverged"):
        train("mnist-fnn", output=tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_unknown_name():
    with pytest.raises(UsageError, match="no such model"):
        train("mnist")
