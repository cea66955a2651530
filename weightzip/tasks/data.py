"""What a task gives to learn from: unlabelled inputs, and batches with targets; and how a module is called with them.

Inputs are what the task's module takes: one tensor (or anything else) as its one argument, a tuple or list as its arguments, a
dict as its keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from weightzip.errors import TaskError, UsageError
from weightzip.tasks.messages import describe_error, prints_go_to_stderr
from weightzip.tasks.protocol import Batch, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

_Item = TypeVar("_Item")


def calibration_inputs(task: Task, most: int) -> list[Batch]:
    """Batches of the task's unlabelled inputs, of `most` examples at most. Raises UsageError where it has none, TaskError."""
    calibration = getattr(task, "calibration", None)
    if not callable(calibration):
        raise UsageError(
            f"task {task.name} has no calibration(); --adapt calibrate needs it: batches of inputs without labels; "
            "--adapt finetune takes it too, or training() and loss(outputs, targets)"
        )
    batches: list[Batch] = []
    left = most
    for inputs in _each(task, "calibration", calibration):
        size = num_examples(inputs)
        if size is None or size == 0:
            raise TaskError(f"task {task.name}: calibration() gave a batch without examples; each must hold a tensor of some")
        kept = map_tensors(lambda tensor: tensor.clone(), inputs)  # as the task may fill the same tensors again and again
        batches.append(kept if size <= left else _first(kept, left))
        left -= min(size, left)
        if not left:
            break
    if not batches:
        raise TaskError(f"task {task.name}: calibration() gave nothing; it must give batches of inputs")
    return batches


def training_batches(task: Task) -> Iterator[tuple[Batch, Batch]]:
    """One pass over the task's (inputs, targets). Raises TaskError where the task does, or gives nothing or something else."""
    empty = True
    for pair in _each(task, "training", getattr(task, "training", None)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            what = f"{type(pair).__name__} of {len(pair)}" if isinstance(pair, (tuple, list)) else type(pair).__name__
            raise TaskError(f"task {task.name}: training() must give pairs (inputs, targets), not a {what}")
        empty = False
        yield pair[0], pair[1]
    if empty:
        raise TaskError(f"task {task.name}: training() gave nothing; it must give pairs (inputs, targets)")


def _each(task: Task, method: str, function: object) -> Iterator[Any]:
    """What a method of the task gives, one after the other, with its errors told as the task's."""
    with prints_go_to_stderr():
        try:
            items = iter(function())  # type: ignore[operator]
        except (Exception, SystemExit) as error:
            raise TaskError(f"task {task.name}: {method}() raised {describe_error(error)}") from error
    while True:
        with prints_go_to_stderr():
            try:
                item = next(items)
            except StopIteration:
                return
            except (Exception, SystemExit) as error:
                raise TaskError(f"task {task.name}: {method}() raised {describe_error(error)}") from error
        yield item


def call_module(module: Callable[..., _Item], inputs: Batch) -> _Item:
    """The module's outputs for a batch of inputs."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, (tuple, list)) else module(inputs)


def map_tensors(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """A batch with `function` of each of its tensors in place of it."""
    from torch import Tensor

    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, value) for key, value in batch.items()}
    if isinstance(batch, tuple):
        parts = [map_tensors(function, value) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return [map_tensors(function, value) for value in batch] if isinstance(batch, list) else batch


def tensors_in_batch(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, batch)
    return found


def _first(batch: Batch, count: int) -> Batch:
    """The first examples of a batch; tensors of another length are for all of them."""
    size = num_examples(batch)
    return map_tensors(lambda tensor: tensor[:count] if tensor.dim() and len(tensor) == size else tensor, batch)


def holds_only_tensors(batch: Batch) -> bool:
    """Whether there is nothing but tensors in a batch's tuples, lists and dicts."""
    from torch import Tensor

    if isinstance(batch, Mapping):
        return all(map(holds_only_tensors, batch.values()))
    return all(map(holds_only_tensors, batch)) if isinstance(batch, (tuple, list)) else isinstance(batch, Tensor)


def num_examples(batch: Batch) -> int | None:
    """The length of the first tensor; None where there is none, or it has no length."""
    tensors = tensors_in_batch(batch)
    return len(tensors[0]) if tensors and tensors[0].dim() else None


def forward(task: Task, module: Callable[..., _Item], inputs: Batch, source: str) -> _Item:
    """`call_module` for a task's module, with its errors told as the task's; source: the method that gave the inputs."""
    from torch import OutOfMemoryError  # of a device

    from weightzip.errors import is_out_of_memory

    with prints_go_to_stderr():
        try:
            return call_module(module, inputs)
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error) or isinstance(error, OutOfMemoryError):
                raise
            shapes = ", ".join("x".join(map(str, tensor.shape)) or "a scalar" for tensor in tensors_in_batch(inputs)[:3])
            what = f"what {source}() gives ({shapes or 'no tensor'})"
            raise TaskError(f"task {task.name}: the model raised {describe_error(error)} for {what}") from error


def build_module(task: Task) -> nn.Module:
    """A new module of the task. Raises TaskError."""
    from torch import nn

    with prints_go_to_stderr():
        try:
            module: object = task.model()
        except (Exception, SystemExit) as error:
            raise TaskError(f"task {task.name}: model() raised {describe_error(error)}") from error
    if not isinstance(module, nn.Module):
        raise TaskError(f"task {task.name}: model() gave {type(module).__name__}; it must give a torch.nn.Module")
    return module
