"""Measuring weights by a task: the module is built, the weights must fit it, the metric must be a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING

from weightzip.errors import CheckpointError, TaskError
from weightzip.tasks.data import build_module
from weightzip.tasks.messages import describe_error, prints_go_to_stderr
from weightzip.tasks.protocol import Task

if TYPE_CHECKING:
    from torch import nn

_MAX_LISTED = 5  # keys named in a message


@prints_go_to_stderr()
def evaluate_state(task: Task, state: Mapping[str, object]) -> float:
    """The task's metric for a module that holds the weights `state` (`checkpoint.module_state`), which is left as it is.

    The module is in evaluation mode and no gradients are recorded. What the task prints goes to stderr.
    Raises CheckpointError where keys or shapes do not fit the module, TaskError where the task raises an error or
    gives something else than a finite number.
    """
    import torch

    from weightzip.checkpoint import with_prefix_of

    model = build_module(task)
    state = with_prefix_of(model, state)
    check_fit(model, state, task.name)
    model.load_state_dict(state)
    model.eval()
    with torch.no_grad():
        try:
            value = task.evaluate(model)
        except (Exception, SystemExit) as error:
            raise TaskError(f"task {task.name}: evaluate() raised {describe_error(error)}") from error
    return _finite(value, task.name)


def check_fit(model: nn.Module, state: Mapping[str, object], task_name: str) -> None:
    """Raise CheckpointError, naming the first few tensors, unless `state` has the module's keys and shapes."""
    from torch import Tensor

    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    mismatched = [
        f"{key} is {_shape(state[key])}, not {_shape(value)}"
        for key, value in expected.items()
        if isinstance(value, Tensor) and key in state and getattr(state[key], "shape", None) != value.shape
    ]
    problems = [
        f"{kind}: {_first(items)}"
        for kind, items in (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatched))
        if items
    ]
    if problems:
        found = "; ".join([*problems, "name the task that it is for"])
        raise CheckpointError(f"the checkpoint does not fit the model of task {task_name}; {found}")


def _finite(value: object, task_name: str) -> float:
    if type(value) is bool or not isinstance(value, Real):
        raise TaskError(f"task {task_name}: evaluate() gave {type(value).__name__}; it must give a float")
    if not math.isfinite(value):
        raise TaskError(f"task {task_name}: evaluate() gave {float(value)}; the metric must be a finite number")
    return float(value)


def _shape(value: object) -> str:
    shape = getattr(value, "shape", None)
    return "no tensor" if shape is None else "x".join(str(size) for size in shape) or "a scalar"


def _first(items: list[str]) -> str:
    rest = len(items) - _MAX_LISTED
    return ", ".join(items[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
