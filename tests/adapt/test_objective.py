import sys
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from weightzip.adapt.network import Network
from weightzip.adapt.objective import Matching, TaskLoss, mixed, own_loss
from weightzip.checkpoint import from_object
from weightzip.errors import TaskError

Pair = namedtuple("Pair", "left right")


@dataclass
class Given:
    """A task of this module."""

    module: nn.Module
    name: str = "given"
    metric: str = "points"
    loss: Any = None

    def model(self):
        return self.module

    def evaluate(self, model):
        return 0.0


class Shaped(nn.Module):
    """Outputs of a function of weight * inputs + bias."""

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.bias = nn.Parameter(torch.tensor([0.5]))
        self.function = function

    def forward(self, batch):
        return self.function(self.weight * batch + self.bias)


def network_of(function, **task):
    module = Shaped(function)
    return Network(Given(module, **task), from_object(module.state_dict()), "cpu")


def weights_of(network, *, weight=2.0, bias=0.5):
    return {"weight": torch.tensor([weight], requires_grad=True), "bias": torch.tensor([bias])}


def random(*shape, seed=0, size=1.0):
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Mixtures


def test_mixtures_lie_between_two_examples():
    """At least half of each is its own; the rest is one of the others', the same one for all of it."""
    inputs, others = torch.zeros(200, 3, 4), torch.arange(200.0).reshape(200, 1, 1).expand(200, 3, 4) + 1000
    found = mixed(inputs, others, generator())
    assert found.shape == inputs.shape
    shares = found / 1200
    assert torch.equal(found, found[:, :1, :1].expand_as(found))
    assert 0 <= float(shares.min()) < 0.05
    assert 0.4 < float(shares.max()) < 0.5
    assert 0.2 < float(shares.mean()) < 0.26


def test_every_example_has_a_share_and_a_partner_of_its_own():
    found = mixed(torch.zeros(50, 2), torch.ones(50, 2), generator())[:, 0]
    assert len(found.unique()) == 50
    partners = mixed(torch.zeros(50, 2), 2.0 ** torch.arange(50.0)[:, None].expand(50, 2), generator())[:, 0]
    numbers = torch.log2(partners / found).round()  # the shares are the same, as the seed is
    assert sorted(numbers.tolist()) == list(range(50))
    assert numbers.tolist() != list(range(50))


def test_a_seed_gives_a_mixture_and_another_seed_another_one():
    inputs, others = random(8, 5), random(8, 5, seed=1)
    first, second, third = (mixed(inputs, others, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_inputs_are_left_as_they_are():
    inputs, others = random(8, 5), random(8, 5, seed=1)
    before = inputs.clone(), others.clone()
    mixed(inputs, others, generator())
    assert torch.equal(inputs, before[0])
    assert torch.equal(others, before[1])


@pytest.mark.parametrize("kind", ["dict", "tuple", "list", "namedtuple", "nested"])
def test_all_tensors_of_an_example_get_the_same_share_and_partner(kind):
    left, right = random(8, 5), random(8, 2, 3, seed=1).double()
    build = {
        "dict": lambda a, b: {"left": a, "right": b},
        "tuple": lambda a, b: (a, b),
        "list": lambda a, b: [a, b],
        "namedtuple": Pair,
        "nested": lambda a, b: {"left": (a, {"right": b, "name": "same"})},
    }[kind]
    found = mixed(build(left, right), build(left + 10, right + 10), generator())
    wanted = mixed(left, left + 10, generator()), mixed(right, right + 10, generator())
    expected = build(*wanted)
    assert type(found) is type(expected)
    if kind == "nested":
        assert found["left"][1]["name"] == "same"
        found, expected = ((each["left"][0], each["left"][1]["right"]) for each in (found, expected))
    pairs = zip(*(each.values() if isinstance(each, dict) else each for each in (found, expected)), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("inputs", "others"),
    [
        (torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6], [7, 8]])),  # words
        (torch.ones(3, 2) > 0, torch.ones(3, 2) < 0),
        ({"words": torch.ones(3).long(), "mask": torch.ones(3)}, {"words": torch.zeros(3).long(), "mask": torch.zeros(3)}),
        (torch.ones(3, 2), torch.zeros(2, 2)),  # the last batch
        (torch.ones(3, 2), torch.zeros(3, 1)),
        (torch.ones(3, 2), (torch.zeros(3, 2), torch.zeros(3, 2))),
        (torch.tensor(1.0), torch.tensor(0.0)),
        ((torch.ones(3, 2), torch.ones(4)), (torch.zeros(3, 2), torch.zeros(4))),
        ("no tensor", "at all"),
        ((), ()),
    ],
    ids=str,
)
def test_what_cannot_be_mixed_stays_as_it_is(inputs, others):
    assert mixed(inputs, others, generator()) is inputs


# Matching


def decided(*shape, axis, seed=0):
    """Scores that are far apart along one axis, and next to alike along all others."""
    winners = torch.randint(shape[axis], [size for place, size in enumerate(shape) if place != axis], generator=generator(seed))
    scores = 0.01 * random(*shape, seed=seed)
    return scores + 12 * functional.one_hot(winners, shape[axis]).movedim(-1, axis)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((20, 5), 1), ((6, 5, 4, 7), 1), ((6, 7, 5), 2), ((6, 5, 7), 1), ((4, 3, 2, 6), 3), ((20, 2), 1), ((6, 1, 9), 2)],
    ids=str,
)
def test_decided_scores_are_matched_along_their_own_axis(shape, axis):
    """By hand: the divergence per decision, in nats, of what the softmax says."""
    network, batch = network_of(lambda numbers: numbers), decided(*shape, axis=axis)
    matching = Matching.on(network, "calibration", batch)
    assert matching.class_axes == (axis,)
    before, after = (functional.softmax(scores.double(), axis) for scores in (2 * batch + 0.5, 0.1 * batch + 0.5))
    wanted = (before * (before / after).log()).sum(axis).mean()
    found = matching.loss(weights_of(network, weight=0.1), batch)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert 0.1 < found.item() < 5


@pytest.mark.parametrize("shape", [(20, 5), (6, 5, 4, 7), (6, 7, 5), (20,), (20, 1), (1, 1, 1)], ids=str)
def test_everything_else_is_matched_by_its_relative_square_error(shape):
    network, batch = network_of(lambda numbers: numbers), random(*shape, size=0.3)
    matching = Matching.on(network, "calibration", batch)
    assert matching.class_axes == (None,)
    wanted = (0.5 * batch).square().mean() / (2 * batch + 0.5).square().mean()
    assert matching.loss(weights_of(network, weight=1.5), batch).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_undecided_scores_of_classes_are_no_decision():
    """Half of the largest entropy is the boundary."""
    network, batch = network_of(lambda numbers: numbers), random(4000, 10)
    axes = [Matching.on(network, "calibration", size * batch).class_axes for size in (0.3, 0.6, 2.0, 10.0)]
    assert axes == [(None,), (None,), (1,), (1,)]


@pytest.mark.parametrize("axis", [None, 1])
def test_the_original_weights_lose_nothing(axis):
    network = network_of(lambda numbers: numbers)
    batch = random(20, 5, size=0.1) if axis is None else decided(20, 5, axis=1)
    matching = Matching.on(network, "calibration", batch)
    assert matching.class_axes == (axis,)
    assert matching.loss(weights_of(network), batch).item() == pytest.approx(0, abs=1e-12)
    assert matching.loss(weights_of(network, weight=0.3), batch).item() > 0.01


def test_gradients_reach_the_weights_and_not_the_original():
    network, batch = network_of(lambda numbers: numbers), random(20, 5, size=0.1)
    weights = weights_of(network, weight=1.5)
    (gradient,) = torch.autograd.grad(Matching.on(network, "calibration", batch).loss(weights, batch), weights["weight"])
    assert gradient.item() < -1e-3
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_several_outputs_are_matched_each_in_its_way():
    """The mean of both; numbers of examples, and words, are none of it."""
    batch = decided(20, 5, axis=1)
    network = network_of(lambda numbers: {"scores": numbers, "rest": (0.01 * numbers, len(numbers), numbers.argmax(1))})
    matching = Matching.on(network, "calibration", batch)
    assert matching.class_axes == (1, None)
    alone = [
        Matching.on(net, "calibration", batch).loss(weights_of(net, weight=0.1), batch).item()
        for net in (network_of(lambda numbers: numbers), network_of(lambda numbers: 0.01 * numbers))
    ]
    assert abs(alone[0] - alone[1]) > 0.05
    found = matching.loss(weights_of(network, weight=0.1), batch).item()
    assert found == pytest.approx(sum(alone) / 2, rel=1e-4)


def test_the_axis_is_decided_once():
    """By the inputs that are there at first, whatever the outputs for a mixture look like."""
    network = network_of(lambda numbers: numbers)
    matching = Matching.on(network, "calibration", decided(20, 5, axis=1))
    tied = torch.tensor([[1.0, 0.0]])  # undecided, and yet matched as scores: a shift is no error
    assert matching.loss(weights_of(network, bias=7.0), tied).item() == pytest.approx(0, abs=1e-6)


def test_outputs_that_are_zero_are_no_division_by_zero():
    network = network_of(lambda numbers: 0 * numbers)
    batch = random(4, 3)
    matching = Matching.on(network, "calibration", batch)
    assert matching.loss(weights_of(network, weight=1.0), batch).item() == 0


@pytest.mark.parametrize("function", [lambda numbers: numbers.argmax(1), lambda numbers: None, lambda numbers: numbers[:0]])
def test_outputs_without_anything_to_match_are_refused(function):
    with pytest.raises(TaskError, match="task given: the model's outputs hold no floating-point tensor, so none can"):
        Matching.on(network_of(function), "calibration", random(4, 3))


def test_half_precision_is_compared_in_single():
    network = network_of(lambda numbers: (1e4 * numbers).half())  # whose squares half precision does not hold
    batch = 0.1 * random(40, 1)
    matching = Matching.on(network, "calibration", batch)
    assert 0 < matching.loss(weights_of(network, weight=1.9), batch).item() < 0.01


# The task's own loss


def square(outputs, targets):
    return (outputs - targets).square().mean()


def test_the_tasks_own_loss_is_that_of_the_outputs_and_targets():
    network, batch = network_of(lambda numbers: numbers), random(6, 3)
    weights = weights_of(network, weight=1.0)
    loss = TaskLoss(network, square).loss(weights, (batch, torch.zeros(6, 3)))
    assert loss.shape == ()
    assert loss.item() == pytest.approx((batch + 0.5).square().mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, weights["weight"])
    assert gradient.item() == pytest.approx((2 * batch * (batch + 0.5)).mean().item(), rel=1e-4)


def test_a_loss_of_one_number_in_a_tensor_is_a_scalar():
    network = network_of(lambda numbers: numbers)
    loss = TaskLoss(network, lambda outputs, targets: square(outputs, targets).reshape(1, 1))
    assert loss.loss(weights_of(network), (random(6, 3), torch.zeros(6, 3))).shape == ()


def test_targets_go_to_the_loss_as_they_are():
    seen = []
    network = network_of(lambda numbers: numbers)
    targets = {"boxes": [1, 2], "names": "a"}
    TaskLoss(network, lambda outputs, targets: seen.append(targets) or outputs.sum()).loss(
        weights_of(network), (random(6, 3), targets)
    )
    assert seen[0] is targets


@pytest.mark.parametrize("error", [ValueError("no data\nat all"), SystemExit("no data")])
def test_a_loss_that_raises(error):
    def raising(outputs, targets):
        raise error

    network = network_of(lambda numbers: numbers)
    with pytest.raises(TaskError, match=r"task given: loss\(\) raised \w+: no data \(\S+, line \d+\)$") as caught:
        TaskLoss(network, raising).loss(weights_of(network), (random(6, 3), None))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, targets: 1.0,
        lambda outputs, targets: None,
        lambda outputs, targets: outputs.mean(1),
        lambda outputs, targets: outputs.sum().detach(),
        lambda outputs, targets: torch.tensor(1.0),
        lambda outputs, targets: outputs[:0],
    ],
)
def test_a_loss_that_is_no_scalar_of_the_outputs_is_refused(loss):
    network = network_of(lambda numbers: numbers)
    with pytest.raises(TaskError, match=r"task given: loss\(\) must give a scalar tensor that depends on the outputs"):
        TaskLoss(network, loss).loss(weights_of(network), (random(6, 3), None))


def test_a_model_that_raises_is_told_with_what_it_was_given():
    network = network_of(lambda numbers: numbers.view(-1, 7))
    with pytest.raises(TaskError, match=r"task given: the model raised RuntimeError: .* for what training\(\) gives \(6x3\)$"):
        TaskLoss(network, square).loss(weights_of(network), (random(6, 3), None))


def test_what_a_loss_prints_goes_to_stderr(capsys):
    network = network_of(lambda numbers: numbers)
    TaskLoss(network, lambda outputs, targets: sys.stdout.write("a loss\n") and outputs.sum()).loss(
        weights_of(network), (random(6, 3), None)
    )
    assert capsys.readouterr() == ("", "a loss\n")


@pytest.mark.parametrize("loss", [None, "square", 3])
def test_a_task_may_have_no_loss(loss):
    assert own_loss(Given(nn.Identity(), loss=loss)) is None
    assert own_loss(Given(nn.Identity(), loss=square)) is square
