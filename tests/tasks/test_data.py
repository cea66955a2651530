import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import pytest
import torch
from torch import nn

from weightzip.errors import TaskError, UsageError
from weightzip.tasks import build_module, calibration_inputs, forward, map_tensors, tensors_in_batch, training_batches
from weightzip.tasks.data import call_module, num_examples

Pair = namedtuple("Pair", "left right")


@dataclass
class Given:
    """A task whose methods give, or raise, what they are given here."""

    inputs: Any = ()
    pairs: Any = ()
    module: Any = None
    name: str = "given"
    metric: str = "points"

    def model(self):
        return self._told(self.module, "a model")

    def evaluate(self, model):
        return 0.0

    def calibration(self):
        return self._told(self.inputs, "inputs")

    def training(self):
        return self._told(self.pairs, "pairs")

    def _told(self, what, name):
        sys.stdout.write(f"{name}\n")
        if isinstance(what, BaseException):
            raise what
        return what() if callable(what) and not isinstance(what, nn.Module) else what


def batches(*sizes):
    """Batches of numbered examples [size, 2]."""
    numbers = torch.arange(2 * sum(sizes)).view(-1, 2).float()
    return list(torch.split(numbers, sizes))


def then_raises(items, error):
    yield from items
    raise error


ERRORS = pytest.mark.parametrize("error", [ValueError("no data\nat all"), SystemExit("no data")])


# Calibration


def test_inputs_come_in_order_as_the_task_gives_them():
    given = batches(3, 4, 2)
    found = calibration_inputs(Given(given), 100)
    assert len(found) == 3
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, given, strict=True))
    assert not {batch.data_ptr() for batch in found} & {batch.data_ptr() for batch in given}  # which the task may fill again


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 4]), (8, [3, 4, 1]), (9, [3, 4, 2])])
def test_inputs_are_cut_to_so_many_examples(most, sizes):
    given = batches(3, 4, 2)
    found = calibration_inputs(Given(given), most)
    assert [len(batch) for batch in found] == sizes
    assert torch.equal(torch.cat(found), torch.cat(given)[:most])


def test_no_more_batches_are_asked_for_than_are_needed():
    """There may be no end to them."""
    asked = []

    def endless():
        for number in count():
            asked.append(number)
            yield torch.zeros(10, 2)

    assert [len(batch) for batch in calibration_inputs(Given(endless), 25)] == [10, 10, 5]
    assert asked == [0, 1, 2]
    assert len(calibration_inputs(Given(endless), 20)) == 2
    assert asked == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(5, 2), torch.ones(5)),
        [torch.zeros(5, 2), torch.ones(5)],
        {"words": torch.zeros(5, 2), "mask": torch.ones(5)},
        Pair(torch.zeros(5, 2), torch.ones(5)),
        {"words": {"left": torch.zeros(5, 2)}, "rest": (torch.ones(5), "name", None)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_batches_of_several_tensors_are_cut_in_all_of_them(batch):
    (found,) = calibration_inputs(Given([batch]), 3)
    assert type(found) is type(batch)
    assert [tensor.shape for tensor in tensors_in_batch(found)] == [(3, 2), (3,)]
    assert [len(tensor) for tensor in tensors_in_batch(batch)] == [5, 5]
    if isinstance(batch, dict):
        assert list(found) == list(batch)
        assert found.get("rest", (0, "name"))[1] == "name"


def test_scalars_are_no_examples():
    (found,) = calibration_inputs(Given([(torch.zeros(5, 2), torch.tensor(0.1))]), 3)
    assert found[0].shape == (3, 2)
    assert found[1].item() == pytest.approx(0.1)


def test_a_task_without_calibration_is_told_what_needs_it():
    for calibration in (None, "data.pt"):
        task = type("Task", (), {"name": "mine", "calibration": calibration})()
        with pytest.raises(UsageError, match=r"^task mine has no calibration\(\); --adapt calibrate needs it: batches of"):
            calibration_inputs(task, 10)
    with pytest.raises(UsageError, match="task mine has no calibration"):
        calibration_inputs(type("Task", (), {"name": "mine"})(), 10)


@pytest.mark.parametrize("given", [[], (), iter([])], ids=["list", "tuple", "iterator"])
def test_calibration_that_gives_nothing(given):
    with pytest.raises(TaskError, match=r"^task given: calibration\(\) gave nothing; it must give batches of inputs$"):
        calibration_inputs(Given(given), 10)


@pytest.mark.parametrize(
    "batch", [torch.zeros(0, 3), torch.tensor(1.0), "words", None, {}, (), [torch.tensor(1.0), torch.zeros(3)], 7], ids=str
)
def test_a_batch_without_examples_is_refused(batch):
    """Also after others."""
    for given in ([batch], [torch.zeros(2, 3), batch]):
        with pytest.raises(TaskError, match=r"^task given: calibration\(\) gave a batch without examples; each must hold"):
            calibration_inputs(Given(given), 10)


@ERRORS
def test_calibration_that_raises(error):
    """At once, or on the way."""
    for given in (error, then_raises(batches(3), error)):
        with pytest.raises(TaskError, match=r"^task given: calibration\(\) raised \w+: no data \(\S+, line \d+\)$") as caught:
            calibration_inputs(Given(given), 10)
        assert caught.value.__cause__ is error


def test_calibration_that_gives_no_batches_at_all():
    for given in (3, None):
        with pytest.raises(TaskError, match=r"^task given: calibration\(\) raised TypeError: '\w+' object is not iterable$"):
            calibration_inputs(Given(given), 10)


def test_an_error_after_enough_examples_is_never_met():
    assert len(calibration_inputs(Given(then_raises(batches(3, 4), ValueError("no"))), 7)) == 2


# Training


@pytest.mark.parametrize("kind", [tuple, list, Pair._make])
def test_pairs_come_in_order(kind):
    given = [kind([number, -number]) for number in range(5)]
    assert list(training_batches(Given(pairs=given))) == [(number, -number) for number in range(5)]


def test_each_pass_asks_the_task_anew():
    task = Given(pairs=lambda: iter([(1, 2), (3, 4)]))
    assert list(training_batches(task)) == list(training_batches(task)) == [(1, 2), (3, 4)]


def test_one_pair_after_the_other():
    """What comes late is not asked for early."""
    task = Given(pairs=then_raises([(1, 2), (3, 4)], ValueError("no")))
    assert list(islice(training_batches(task), 2)) == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (torch.zeros(2, 3), "Tensor"),
        ((1, 2, 3), "tuple of 3"),
        ([1], "list of 1"),
        ("ab", "str"),
        ({"inputs": 1, "targets": 2}, "dict"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_what_is_no_pair_is_refused(item, what):
    found = training_batches(Given(pairs=[(1, 2), item]))
    assert next(found) == (1, 2)
    with pytest.raises(TaskError, match=rf"^task given: training\(\) must give pairs \(inputs, targets\), not a {what}$"):
        next(found)


def test_training_that_gives_nothing():
    with pytest.raises(TaskError, match=r"^task given: training\(\) gave nothing; it must give pairs \(inputs, targets\)$"):
        list(training_batches(Given(pairs=[])))


@ERRORS
def test_training_that_raises(error):
    for given in (error, then_raises([(1, 2)], error)):
        with pytest.raises(TaskError, match=r"^task given: training\(\) raised \w+: no data \(\S+, line \d+\)$") as caught:
            list(training_batches(Given(pairs=given)))
        assert caught.value.__cause__ is error


def test_training_that_is_no_method():
    task = type("Task", (), {"name": "mine", "training": None})()
    with pytest.raises(TaskError, match=r"^task mine: training\(\) raised TypeError: 'NoneType' object is not callable$"):
        list(training_batches(task))


def test_interrupts_pass():
    for given in (KeyboardInterrupt(), then_raises(batches(3), KeyboardInterrupt())):
        with pytest.raises(KeyboardInterrupt):
            calibration_inputs(Given(given), 10)


# Prints


def test_what_a_task_prints_goes_to_stderr(capsys):
    """While its own code runs, and not in between."""

    def chatty(items, name):
        for item in items:
            sys.stdout.write(f"{name} {item}\n")
            yield item
        sys.stdout.write(f"{name} done\n")

    class Chatty(nn.Module):
        def forward(self, batch):
            sys.stdout.write("forward\n")
            return batch

    task = Given(pairs=lambda: chatty([(1, 2)], "pair"), module=Chatty)
    for inputs, _ in training_batches(task):
        sys.stdout.write(f"data {inputs}\n")
    forward(task, build_module(task), 1, "training")
    sys.stdout.write("data\n")
    assert capsys.readouterr() == ("data 1\ndata\n", "pairs\npair (1, 2)\npair done\na model\nforward\n")


def test_what_a_task_prints_before_its_inputs_goes_to_stderr(capsys):
    calibration_inputs(Given(batches(3)), 2)
    assert capsys.readouterr() == ("", "inputs\n")


# Batches


def test_a_module_is_called_with_what_a_batch_stands_for():
    def module(*arguments, **keywords):
        return arguments, keywords

    assert call_module(module, 3) == ((3,), {})
    assert call_module(module, (1, 2)) == call_module(module, [1, 2]) == ((1, 2), {})
    assert call_module(module, Pair(1, 2)) == ((1, 2), {})
    assert call_module(module, OrderedDict(left=1, right=2)) == ((), {"left": 1, "right": 2})
    assert call_module(module, ()) == ((), {})


def test_tensors_are_found_in_order_wherever_they_are():
    tensors = [torch.full((2,), float(number)) for number in range(5)]
    batch = (tensors[0], {"a": [tensors[1], "text"], "b": Pair(tensors[2], 3.0)}, [(tensors[3],)], None, tensors[4])
    found = tensors_in_batch(batch)
    assert [tensor[0].item() for tensor in found] == [0, 1, 2, 3, 4]
    assert tensors_in_batch("text") == tensors_in_batch({}) == []


def test_tensors_are_mapped_and_all_else_is_kept():
    batch = {"pair": Pair(torch.ones(2), [3, None]), "tuple": (torch.ones(1), "text"), 5: torch.zeros(1)}
    found = map_tensors(lambda tensor: tensor + 1, batch)
    assert list(found) == ["pair", "tuple", 5]
    assert isinstance(found["pair"], Pair)
    assert found["pair"].left.tolist() == [2, 2]
    assert found["pair"].right == [3, None]
    assert type(found["tuple"]) is tuple
    assert found["tuple"][1] == "text"
    assert found[5].item() == 1
    assert batch["pair"].left.tolist() == [1, 1]


def test_examples_are_counted_by_the_first_tensor():
    assert num_examples({"words": torch.zeros(4, 9), "other": torch.zeros(7)}) == 4
    assert num_examples(("text", torch.zeros(3))) == 3
    assert num_examples(torch.zeros(0, 3)) == 0
    assert num_examples(torch.tensor(1.0)) is None
    assert num_examples("text") is None


# Modules


@ERRORS
def test_a_forward_pass_that_raises_is_told_with_the_shapes_of_its_inputs(error):
    def raising(*arguments, **keywords):
        raise error

    for inputs, shapes in (
        (torch.zeros(5, 3), "5x3"),
        ((torch.zeros(5, 3), torch.tensor(1.0)), "5x3, a scalar"),
        ({"a": torch.zeros(1), "b": torch.zeros(2), "c": torch.zeros(3), "d": torch.zeros(4)}, "1, 2, 3"),
        ("text", "no tensor"),
    ):
        with pytest.raises(
            TaskError, match=rf"^task given: the model raised \w+: no data \(.*\) for what f\(\) gives \({shapes}\)$"
        ):
            forward(Given(), raising, inputs, "f")


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("not enough memory: you tried to allocate 8 bytes")])
def test_running_out_of_memory_is_no_error_of_the_task(error):
    def raising(batch):
        raise error

    with pytest.raises(type(error)) as caught:
        forward(Given(), raising, torch.zeros(1), "calibration")
    assert caught.value is error


def test_a_module_is_built_anew_each_time():
    task = Given(module=lambda: nn.Linear(2, 3))
    first, second = build_module(task), build_module(task)
    assert isinstance(first, nn.Linear)
    assert first is not second


@ERRORS
def test_model_that_raises(error):
    with pytest.raises(TaskError, match=r"^task given: model\(\) raised \w+: no data \(\S+, line \d+\)$"):
        build_module(Given(module=error))


@pytest.mark.parametrize(("module", "what"), [(None, "NoneType"), ({"weight": 1}, "dict"), (lambda: nn.Linear, "type")])
def test_model_that_is_no_module(module, what):
    with pytest.raises(TaskError, match=rf"^task given: model\(\) gave {what}; it must give a torch.nn.Module$"):
        build_module(Given(module=module))


def test_what_all_examples_share_is_not_cut():
    (found,) = calibration_inputs(Given([{"images": torch.zeros(8, 3), "grid": torch.zeros(16, 2)}]), 5)
    assert found["images"].shape == (5, 3)
    assert found["grid"].shape == (16, 2)
