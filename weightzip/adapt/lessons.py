"""What there is to learn from: the task's own loss on its training data, or the original's outputs for unlabelled inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from weightzip.adapt.network import Network
from weightzip.adapt.objective import Matching, TaskLoss, mixed, own_loss
from weightzip.adapt.training import Objective
from weightzip.tasks import (
    Batch,
    calibration_inputs,
    holds_only_tensors,
    map_tensors,
    num_examples,
    tensors_in_batch,
    training_batches,
)

MOST_INPUTS = 5_000  # that calibration may use
_PRIME = 1_000_003
_SHUFFLED, _SHUFFLED_BYTES = 32, 256 << 20  # batches whose examples are shuffled among each other, at most
MEASURED = 20  # batches that statistics and moments are measured on


@dataclass(frozen=True, eq=False)
class Lessons:
    """What there is to learn from. batches: an endless stream from a step on. inputs: some, to measure statistics on."""

    objective: Objective
    batches: Callable[[int], Iterator[object]]
    inputs: Sequence[Batch]
    source: str


def lessons_of(network: Network, level: str, seed: int) -> Lessons:
    """What a level learns from: labels and a loss where fine-tuning has them, the original's own outputs otherwise."""
    task = network.task
    if level == "finetune" and callable(getattr(task, "training", None)):
        loss = own_loss(task)
        some = [map_tensors(torch.clone, inputs) for inputs, _ in itertools.islice(training_batches(task), MEASURED)]
        if loss is None:
            matching = Matching.on(network, "training", some[0])
            return Lessons(matching, lambda start: _mixtures_of_passes(network, seed, start), some, "training")
        return Lessons(TaskLoss(network, loss), lambda start: _passes(network, seed, start), some, "training")
    inputs = calibration_inputs(task, MOST_INPUTS)
    matching = Matching.on(network, "calibration", inputs[0])
    return Lessons(matching, lambda start: _mixtures(network, inputs, seed, start), inputs, "calibration")


@contextmanager
def own_randomness(seed: int, device: str) -> Iterator[None]:
    """Let all that is random within the block begin with this seed, and leave the caller's randomness as it was."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _pass(network: Network, seed: int, number: int) -> Iterator[tuple[Batch, Batch]]:
    """One pass over the task's batches; whatever shuffles them has a seed of its own for each."""
    torch.manual_seed(_seed(seed, number))
    yield from shuffled(training_batches(network.task), _generator(seed, number))


def _passes(network: Network, seed: int, start: int) -> Iterator[tuple[Batch, Batch]]:
    """The task's training batches, pass after pass, from a step on; their examples in another order each time."""
    passes = (_pass(network, seed, number) for number in itertools.count())
    pairs = itertools.islice(itertools.chain.from_iterable(passes), start, None)
    return ((network.placed(inputs), network.placed(targets)) for inputs, targets in pairs)


def shuffled(batches: Iterable[Batch], generator: torch.Generator) -> Iterator[Batch]:
    """The same examples, shuffled among some neighbouring batches; whole batches where examples cannot be told apart."""
    left = (map_tensors(torch.clone, batch) for batch in batches)  # as the task may fill the same tensors again and again
    while group := _group(left):
        order = torch.randperm(len(group), generator=generator).tolist()
        yield from _dealt(group, generator) if _alike(group) else (group[number] for number in order)


def _group(left: Iterator[Batch]) -> list[Batch]:
    """The next batches, as many as are shuffled among each other; fewer where they are large."""
    group: list[Batch] = []
    size = 0
    while len(group) < _SHUFFLED and size < _SHUFFLED_BYTES and (batch := next(left, None)) is not None:
        group.append(batch)
        size += sum(tensor.nbytes for tensor in tensors_in_batch(batch))
    return group


def _dealt(group: Sequence[Batch], generator: torch.Generator) -> Iterator[Batch]:
    """Batches of one form, their examples mixed up and dealt out again."""
    columns = [torch.cat(column) for column in zip(*map(tensors_in_batch, group), strict=True)]
    order = torch.randperm(len(columns[0]), generator=generator)
    ends = list(itertools.accumulate(num_examples(batch) or 0 for batch in group))
    for batch, start, end in zip(group, [0, *ends], ends, strict=False):
        parts = (column[order[start:end]] for column in columns)
        yield map_tensors(lambda _, parts=parts: next(parts), batch)  # type: ignore[misc]


def _alike(group: Sequence[Batch]) -> bool:
    """Whether batches hold the same tensors but for the number of examples, and nothing else, and which axis that is.

    That is told by a vector, such as labels: matrices may be [examples, time] or [time, examples].
    """
    if not all(map(holds_only_tensors, group)):
        return False
    forms = {tuple((tensor.shape[1:], tensor.dtype, tensor.dim()) for tensor in tensors_in_batch(batch)) for batch in group}
    counts = [{len(tensor) for tensor in tensors_in_batch(batch) if tensor.dim()} for batch in group]
    ranks = [rank for form in forms for _, _, rank in form]
    return len(forms) == 1 and min(ranks, default=0) == 1 and all(len(count) == 1 for count in counts)


def _mixtures_of_passes(network: Network, seed: int, start: int) -> Iterator[Batch]:
    """The inputs of the task's training batches, each mixed with those of the batch before."""
    before: Batch = None
    for number, (inputs, _) in enumerate(_passes(network, seed, max(start - 1, 0)), max(start - 1, 0)):
        if number >= start:
            yield inputs if before is None else mixed(inputs, before, _generator(seed, number))
        before = inputs


def _mixtures(network: Network, batches: Sequence[Batch], seed: int, start: int) -> Iterator[Batch]:
    """Batches in an order of its own for each pass, each mixed with another one, from a step on."""
    for number in itertools.count(start):
        turn, position = divmod(number, len(batches))
        order = torch.randperm(len(batches), generator=_generator(seed, turn))
        generator = _generator(seed, number)
        other = int(torch.randint(len(batches), (), generator=generator))
        yield network.placed(mixed(batches[int(order[position])], batches[other], generator))


def _generator(seed: int, number: int) -> torch.Generator:
    """Of one batch or pass of a run, whichever came before."""
    return torch.Generator().manual_seed(_seed(seed, number))


def _seed(seed: int, number: int) -> int:
    return (seed * _PRIME + number) % 2**32  # of which torch takes 32 bits
