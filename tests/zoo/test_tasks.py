import pytest
import torch

from weightzip.zoo.data import mnist
from weightzip.zoo.tasks import ZooTask, accuracy

TASK = ZooTask("mnist-fnn")


def test_name_and_metric():
    assert (TASK.name, TASK.metric) == ("zoo:mnist-fnn", "top-1 accuracy, %")


def test_evaluate_counts_right_answers():
    model = TASK.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        list(model.parameters())[-1][7] = 1.0  # every image is a seven, and 1,028 of 10,000 are
    assert TASK.evaluate(model) == 10.28


def test_accuracy_puts_the_mode_back():
    model = TASK.model().train()
    accuracy(model, mnist(train=False))
    assert model.training


def test_calibration_gives_unlabelled_batches():
    first, again = list(TASK.calibration()), list(TASK.calibration())
    assert [tuple(batch.shape) for batch in first] == [(100, 1, 28, 28)] * 50
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_training_is_one_pass():
    labels = torch.cat([targets for _, targets in TASK.training()])
    assert torch.equal(labels.bincount(), mnist(train=True).labels.bincount())
    assert not torch.equal(labels, mnist(train=True).labels)
    images, targets = next(iter(TASK.training()))
    assert images.shape == (128, 1, 28, 28)
    assert torch.equal(targets, labels[:128])


def test_loss_is_cross_entropy():
    scores = torch.zeros(4, 10)  # all classes equally likely
    assert TASK.loss(scores, torch.arange(4)).item() == pytest.approx(2.302585, abs=1e-5)
