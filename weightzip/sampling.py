"""Draws from the posterior around a .wz file's model, as state dicts and as checkpoints on disk.

    part --decode--> restored tensors --+--> relative mean square error
    part --sample--> drawn tensors -----+--> checkpoint, state dict, metric of a task

At temperature 1 a draw is to be as far from the restored weights as these are from the source's, which the file records. Noise
that fills the latents' cells is further: the trellis shapes cells better than boxes (a mean square of 0.25 to 0.3 squared fine
steps where a box has 1/3), and the paper's network was fitted to latents that had been rounded, so that most of their rounding
error was made good. So the file is sampled once to see how far such noise goes, and that is the level of all draws. It is at
most 1: what has been lost besides, such as the directions that have no latents, or by adapting, lies in no cell.

Every draw has a generator of its own for each part, seeded with the seed and both numbers: it does not depend on how many draws
are asked for, nor on threads.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.codec import check_one, check_written, decode_parts, naming, section_kind
from weightzip.codec.decoding import EXACT
from weightzip.codec.sampling import MAX_TEMPERATURE, check_samplable, sample_part
from weightzip.errors import UsageError
from weightzip.files import check_output, check_space
from weightzip.progress import Progress, ProgressEvent
from weightzip.restoring import Opened, open_output
from weightzip.tasks import Task, evaluate_state

_BLOCK = 1 << 20  # elements compared at a time, which bounds memory


@dataclass(frozen=True)
class Draws:
    """How many draws of which seed; temperature: what their noise is multiplied by, 1 for the posterior, 0 for no noise."""

    count: int = 1
    temperature: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raise UsageError where one of them is out of range."""
        if self.count < 1:
            raise UsageError(f"--count must be at least 1, not {self.count}")
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise UsageError(f"--temperature must be a number from 0 to {MAX_TEMPERATURE:g}, not {self.temperature}")
        if self.seed < 0:
            raise UsageError(f"--seed must be at least 0, not {self.seed}")


@dataclass(frozen=True)
class Sample:
    """One draw that was written. relative_mse: against the restored weights, over all floating-point tensors.

    value: of the task's metric; None without a task.
    """

    output: Path
    relative_mse: float
    value: float | None


@dataclass(frozen=True)
class Sampled:
    """All draws; metric: the task's, and `restored`: that of the restored weights; None without a task.

    complete: whether the outputs hold all that the source held; a .safetensors file holds a model's tensors, nothing else.
    """

    samples: tuple[Sample, ...]
    metric: str | None
    restored: float | None
    complete: bool


def states(file: Opened, draws: Draws, progress: Progress) -> list[dict[str, Tensor]]:
    """The state dict of each draw, once `check` and `check_kept` have nothing against it."""
    found = []
    with naming(str(file.path)):
        posterior = _Posterior.of(file, draws, progress)
        for number in range(draws.count):
            tensors = {name: drawn for name, _, drawn in posterior.draw(number)}
            found.append(checkpoints.state_dict(file.header.layout, posterior.in_order(tensors)))
    return found


def write(
    file: Opened, output: Path | None, draws: Draws, task: Task | None, memory: int | None, force: bool, progress: Progress
) -> Sampled:
    """Write a checkpoint for each draw, and evaluate it; none gets its name before all of them are whole.

    output: the one to write, or what the names of several begin with; by default beside the file, named after the source. All
    that can be checked is checked before anything is drawn.
    """
    layout, specs = file.header.layout, file.header.tensors
    fmt = layout.format if output is None else checkpoints.output_format(output, layout)
    outputs = _outputs(_default_output(file) if output is None else output, draws.count, folder=fmt == "shards")
    for path in outputs:
        check_output(path, sources=[file.path], force=force, folder=fmt == "shards")
    file.check_memory(memory)
    with naming(str(file.path)):
        num_bytes = draws.count * checkpoints.written_bytes(layout, specs, fmt)
        check_written(num_bytes, file.container.file_bytes, memory)
    check_space(outputs[0], num_bytes)
    restored = None if task is None else evaluate_state(task, file.module_state())
    with naming(str(file.path)):
        posterior = _Posterior.of(file, draws, progress)
    samples = []
    with contextlib.ExitStack() as written:
        for number, path in enumerate(outputs):
            writer = written.enter_context(open_output(layout, specs, path, fmt, force=force))
            samples.append(_write_one(posterior, number, path, writer, task))
    complete = fmt != "safetensors" or checkpoints.fits_safetensors(layout)
    return Sampled(tuple(samples), task.metric if task is not None else None, restored, complete)


def check(file: Opened, draws: Draws) -> None:
    """Raise UsageError for draws that cannot be, or where the file says nothing to draw from."""
    draws.check()
    with naming(str(file.path)):
        check_samplable(file.header)


def check_kept(file: Opened, draws: Draws, memory: int | None) -> None:
    """Raise LimitError where all draws together take more than `memory` bytes."""
    file.check_kept(memory)
    with naming(str(file.path)):
        check_one(draws.count * file.header.tensor_bytes, memory)


def _write_one(posterior: _Posterior, number: int, path: Path, writer: checkpoints.Writer, task: Task | None) -> Sample:
    distance = _Distance()
    kept: dict[str, Tensor] = {}
    with naming(str(posterior.file.path)):
        for name, restored, drawn in posterior.draw(number):
            distance.add(restored, drawn)
            writer.put(name, drawn)
            if task is not None:
                kept[name] = drawn
            del restored, drawn  # or they would stay until the next part has been decoded
    value = None
    if task is not None:
        value = evaluate_state(task, checkpoints.module_state(posterior.file.header.layout, posterior.in_order(kept)))
    return Sample(path, distance.relative_mse, value)


@dataclass(frozen=True)
class _Posterior:
    """What draws come from. temperature: of the noise in the cells; tell: is told the name of each tensor on the way."""

    file: Opened
    temperature: float
    seed: int
    tell: Callable[[str], None]

    @staticmethod
    def of(file: Opened, draws: Draws, progress: Progress) -> _Posterior:
        """Looks how far noise goes that fills the cells."""
        rounds = draws.count + 1 if draws.temperature else draws.count
        total = rounds * file.header.tensor_bytes
        sizes = {spec.name: checkpoints.num_bytes(spec) for spec in file.header.tensors}
        done = 0

        def tell(name: str) -> None:
            nonlocal done
            progress(ProgressEvent("sampling", done, total, name))
            done += sizes[name]

        full = _Posterior(file, 1.0, 0, tell)
        if not draws.temperature:
            return _Posterior(file, 0.0, draws.seed, full.tell)
        distance = _Distance()
        for _, restored, drawn in full.draw(0):
            distance.add(restored, drawn)
            del restored, drawn
        recorded, furthest = file.header.relative_mse, distance.relative_mse
        level = math.sqrt(recorded / furthest) if 0 <= recorded < furthest else 1.0
        return _Posterior(file, level * draws.temperature, draws.seed, full.tell)

    def draw(self, number: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """All tensors, none of which is kept: name, as restored, as drawn; those that are exact are the same in both."""
        container, header = self.file.container, self.file.header
        parts = {spec.name: part for part in header.parts if not part.exact for spec in part.specs}
        sections = self._lossy_sections()
        drawn: dict[str, Tensor] = {}
        for name, restored in decode_parts(container, header):
            self.tell(name)
            if self.temperature and name in parts and name not in drawn:
                part = parts[name]
                generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number, part.number)))
                data = {kind: container.sections[section] for kind, section in sections[part.number].items()}
                drawn = sample_part(header, part, data, self.temperature, generator)
                del data  # which can be as large as what it decodes to
            yield name, restored, drawn.pop(name, restored)
            del restored

    def in_order(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors as the header has them."""
        return {spec.name: tensors[spec.name] for spec in self.file.header.tensors}

    def _lossy_sections(self) -> dict[int, dict[str, str]]:
        """For the number of each lossy part its sections: kind -> name in the file."""
        sections: dict[int, dict[str, str]] = {}
        for name in self.file.container.sections:
            kind, number = section_kind(name)
            if kind != EXACT:
                sections.setdefault(number, {})[kind] = name
        return sections


def _default_output(file: Opened) -> Path:
    """Beside the file: the source's name with `-sample` before its suffix."""
    source = file.default_output(None)
    if file.header.layout.format == "shards":  # a folder, whose name may have a dot anywhere
        return source.with_name(f"{source.name}-sample")
    return source.with_name(f"{source.stem}-sample{source.suffix}")


def _outputs(output: Path, count: int, *, folder: bool) -> list[Path]:
    """The names of all draws: the one given, or that and a number for each.

    >>> [str(path) for path in _outputs(Path("a.pt"), 2, folder=False)]
    ['a-1.pt', 'a-2.pt']
    """
    if count == 1:
        return [output]
    stem, suffix = (output.name, "") if folder else (output.stem, output.suffix)
    return [output.parent / f"{stem}-{number}{suffix}" for number in range(1, count + 1)]


@dataclass
class _Distance:
    """Sums over floating-point tensors; what is not finite is exact, and counts for nothing."""

    error: float = 0.0
    energy: float = 0.0

    def add(self, restored: Tensor, drawn: Tensor) -> None:
        """Count a tensor in."""
        if not restored.dtype.is_floating_point or restored.dtype == torch.float4_e2m1fn_x2:
            return
        before, after = restored.reshape(-1), drawn.reshape(-1)
        for start in range(0, before.numel(), _BLOCK):
            values = before[start : start + _BLOCK].double().numpy()
            moved = after[start : start + _BLOCK].double().numpy() - values
            self.error += _energy(moved)
            self.energy += _energy(values)

    @property
    def relative_mse(self) -> float:
        return self.error / self.energy if self.energy else 0.0


def _energy(values: NDArray[np.float64]) -> float:
    return float(np.square(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)).sum())
