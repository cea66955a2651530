import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from weightzip.errors import CheckpointError, TaskError
from weightzip.tasks import evaluate_state

HINT = "; name the task that it is for$"


@dataclass
class LineTask:
    """y = 3 + 2 x, and how far from it the module's answer to x = 1 is; `result` replaces that where it is given."""

    name: str = "line"
    metric: str = "negative error"
    result: object = None
    num_layers: int = 1

    def model(self):
        return nn.Sequential(*(nn.Linear(1, 1) for _ in range(self.num_layers)))

    def evaluate(self, model):
        if isinstance(self.result, BaseException):
            raise self.result
        if self.result is not None:
            return self.result
        assert not model.training
        assert not torch.is_grad_enabled()
        return -abs(model(torch.ones(1, 1)).item() - 5)


STATE = {"0.weight": torch.tensor([[2.0]]), "0.bias": torch.tensor([3.5])}


def test_metric_of_the_weights():
    assert evaluate_state(LineTask(), STATE) == -0.5


def test_a_model_that_wraps_what_the_weights_are_of():
    class Wrapped(LineTask):
        def model(self):
            return nn.DataParallel(super().model())

        def evaluate(self, model):
            return super().evaluate(model.module)

    assert evaluate_state(Wrapped(), STATE) == -0.5


def test_what_the_task_prints_goes_to_stderr(capsys):
    class Chatty(LineTask):
        def model(self):
            sys.stdout.write("a model\n")
            return super().model()

        def evaluate(self, model):
            sys.stdout.write("evaluating\n")
            return super().evaluate(model)

    evaluate_state(Chatty(), STATE)
    sys.stdout.write("data\n")
    assert capsys.readouterr() == ("data\n", "a model\nevaluating\n")


def test_other_float_types_are_converted():
    assert evaluate_state(LineTask(), {key: value.bfloat16() for key, value in STATE.items()}) == -0.5


def test_state_is_left_as_it_is():
    class Spoiler(LineTask):
        def evaluate(self, model):
            for parameter in model.parameters():
                parameter.zero_()
            return 0.0

    state = {key: value.clone() for key, value in STATE.items()}
    evaluate_state(Spoiler(), state)
    assert all(torch.equal(state[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("result", [2, 2.0, np.float32(2), np.int64(2)])
def test_real_numbers_are_floats(result):
    value = evaluate_state(LineTask(result=result), STATE)
    assert value == 2.0
    assert type(value) is float


@pytest.mark.parametrize("result", [True, "2.0", [2.0], torch.tensor(2.0), 2j])
def test_other_results_are_refused(result):
    with pytest.raises(TaskError, match=f"gave {type(result).__name__}; it must give a float"):
        evaluate_state(LineTask(result=result), STATE)


@pytest.mark.parametrize("result", [float("nan"), float("inf"), -np.float64("inf")])
def test_infinite_results_are_refused(result):
    with pytest.raises(TaskError, match="must be a finite number"):
        evaluate_state(LineTask(result=result), STATE)


@pytest.mark.parametrize("error", [ValueError("no data\nat all"), SystemExit("no data")])
def test_evaluate_that_raises(error):
    with pytest.raises(TaskError, match=r"task line: evaluate\(\) raised \w+: no data \(\S+, line \d+\)$") as caught:
        evaluate_state(LineTask(result=error), STATE)
    assert caught.value.__cause__ is error


def test_interrupt_passes():
    with pytest.raises(KeyboardInterrupt):
        evaluate_state(LineTask(result=KeyboardInterrupt()), STATE)


def test_model_that_raises():
    with pytest.raises(TaskError, match=r"model\(\) raised TypeError"):
        evaluate_state(LineTask(num_layers="two"), STATE)


def test_model_that_is_no_module():
    class Empty(LineTask):
        def model(self):
            return None

    with pytest.raises(TaskError, match=r"model\(\) gave NoneType; it must give a torch.nn.Module"):
        evaluate_state(Empty(), STATE)


def test_missing_key():
    with pytest.raises(CheckpointError, match=rf"task line; missing: 0.bias{HINT}"):
        evaluate_state(LineTask(), {"0.weight": STATE["0.weight"]})


def test_unexpected_key():
    with pytest.raises(CheckpointError, match=rf"unexpected: 1.bias{HINT}"):
        evaluate_state(LineTask(), STATE | {"1.bias": torch.zeros(1)})


def test_mismatched_shape():
    with pytest.raises(CheckpointError, match=rf"shape: 0.weight is 1x2, not 1x1, 0.bias is a scalar, not 1{HINT}"):
        evaluate_state(LineTask(), {"0.weight": torch.zeros(1, 2), "0.bias": torch.tensor(0.0)})


def test_long_lists_are_cut():
    with pytest.raises(
        CheckpointError,
        match=rf"missing: 1.weight, 1.bias, 2.weight, 2.bias, 3.weight and 13 more{HINT}",
    ):
        evaluate_state(LineTask(num_layers=10), STATE)
