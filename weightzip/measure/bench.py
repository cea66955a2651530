"""Measuring one codec on one model and task, through a file on disk."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.codec import Header, decode_container, encode, read_header, tensor_bytes
from weightzip.container import unpack
from weightzip.errors import OutputError
from weightzip.measure.jobs import Job
from weightzip.measure.tensors import Originals
from weightzip.progress import Progress
from weightzip.results import OWN, Point, TensorShare, slug
from weightzip.tasks import Task, evaluate_state


@dataclass(frozen=True)
class Measured:
    """A point, its file's header, what each part of the file takes in bytes (together all), and the codec's notes.

    tensors: one by one, of weightzip's own methods. float_decoder_value: the metric with the codec's decoder before it is
    quantised; None for a codec without one.
    """

    point: Point
    header: Header
    section_bytes: dict[str, int]
    notes: dict[str, Any]
    float_decoder_value: float | None
    tensors: tuple[TensorShare, ...] = ()


def no_command(method: str, setting: str) -> str:
    """Where no command line measures a point again."""
    return ""


class Bench:
    """Measures jobs on one checkpoint and task; equal weights are evaluated once.

    folder: for the files, each for as long as it is measured. command: what measures a method at a setting again.
    original: the metric of the checkpoint itself. evaluation_seconds: what evaluating it took. input_bytes: of all tensors.
    num_weights: elements of floating-point tensors.
    """

    def __init__(
        self,
        model: Checkpoint,
        task: Task,
        folder: Path,
        *,
        command: Callable[[str, str], str] = no_command,
    ) -> None:
        self._model, self._task, self._folder, self._command = model, task, folder, command
        self._originals = Originals(model.tensors)
        self._values: dict[bytes, float] = {}
        self.input_bytes = checkpoint_bytes(model)
        self.num_weights = sum(tensor.numel() for tensor in model.tensors.values() if tensor.dtype.is_floating_point)
        self.original = self._evaluate(model.tensors)
        self._values.clear()  # the first time loads the task's data; the second one tells what an evaluation takes
        start = time.monotonic()
        self._evaluate(model.tensors)
        self.evaluation_seconds = time.monotonic() - start

    def measure(self, job: Job, progress: Progress, keep: Path | None = None) -> Measured:
        """Encode, write the file, read it back, decode and evaluate.

        keep: a folder where the file stays, under the name of its point.
        Raises TaskError where the task cannot evaluate what was restored.
        """
        start = time.monotonic()
        coded = encode(self._model, job.codec, progress)
        data = coded.pack()
        seconds = time.monotonic() - start
        written = self._through_disk(data)
        file_bytes = len(written)
        container = unpack(written, job.title)
        header = read_header(container, job.title)
        decoded = decode_container(container, header, job.title)
        point = Point(
            method=job.method,
            setting=job.setting,
            file_bytes=file_bytes,
            ratio=header.tensor_bytes / file_bytes,
            value=self._evaluate(decoded.tensors),
            original=self.original,
            latent_ratio=header.tensor_bytes / (4 * header.latents) if header.latents else None,
            relative_mse=header.relative_mse,
            seconds=seconds,
            command=self._command(job.method, job.setting),
        )
        unquantised = coded.notes.pop("float_decoder", None)  # as large as the checkpoint, and of no use later
        float_value = self._evaluate(decoded.tensors | unquantised) if unquantised is not None else None
        own = job.method in OWN
        tensors = self._originals.shares(decoded, tensor_bytes(container, header, job.title)) if own else ()
        if keep is not None:
            with _telling(keep):
                (keep / f"{slug(job.title)}.wz").write_bytes(written)
        return Measured(point, header, decoded.section_bytes, coded.notes, float_value, tensors)

    def _through_disk(self, data: bytes) -> bytes:
        """What a file holds after `data` was written to it; its length is the file's size."""
        path = self._folder / "model.wz"
        with _telling(self._folder):
            path.write_bytes(data)
            return path.read_bytes()

    def _evaluate(self, tensors: Mapping[str, Tensor]) -> float:
        key = _digest(tensors)
        if key not in self._values:
            state = checkpoints.module_state(self._model.layout, dict(tensors))
            self._values[key] = evaluate_state(self._task, state)
        return self._values[key]


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Say in which folder something could not be written within the block."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}; free some space") from error


def checkpoint_bytes(model: Checkpoint) -> int:
    """Bytes of all tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.tensors.values())


def _digest(tensors: Mapping[str, Tensor]) -> bytes:
    """A hash of the tensors' bytes; names and shapes are the checkpoint's own throughout."""
    state = hashlib.sha256()
    for tensor in filter(torch.numel, tensors.values()):  # an empty one may have strides of 0, which `view` refuses
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.digest()
