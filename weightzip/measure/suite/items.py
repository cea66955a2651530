"""The measurements that the suite is made of, each by the code that is there for it; all give plain JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightzip import api
from weightzip import checkpoint as checkpoints
from weightzip.baselines import Zstd, sweep
from weightzip.codec import encode
from weightzip.interface import JSON
from weightzip.measure.compare import quick_curve
from weightzip.measure.conditions import model_weights
from weightzip.measure.environment import Environment
from weightzip.measure.equal_error import decibels
from weightzip.measure.rows import SideBySide
from weightzip.measure.speed import measure_speed
from weightzip.measure.suite.settings import Recipe
from weightzip.progress import Progress, ProgressEvent
from weightzip.tasks import evaluate_state, load_task
from weightzip.threads import limited_threads
from weightzip.zoo import entry

_MOST_DB = 90.0  # beyond, NNCodec's finest step does not reach


def measure_file(model: str, recipe: Recipe, folder: Path, *, seed: int, threads: int, progress: Progress) -> JSON:
    """A model of the zoo as a file, which is restored and evaluated. folder: of the file, and of adaptations on the way."""
    output, source = folder / f"{model}-{recipe.name}-{seed}.wz", entry(model).checkpoint
    output.unlink(missing_ok=True)  # unlike `force`, this lets an interrupted adaptation go on
    task = load_task(f"zoo:{model}")
    summary = api.compress(
        source,
        output,
        preset=recipe.preset,
        max_drop=recipe.max_drop,
        adapt=recipe.adapt,
        task=task if recipe.max_drop is not None else None,
        seed=seed,
        device="cpu",
        threads=threads,
        progress=progress,
    )
    with limited_threads(threads):
        value, original = (evaluate_state(task, api.read_state(path)) for path in (output, source))
    size = output.stat().st_size
    figures = {"file_bytes": size, "ratio": summary["input_bytes"] / size, "latent_ratio": summary["latent_ratio"]}
    command = recipe.command(model, seed)
    return figures | {"value": value, "original": original, "seconds": summary["seconds"], "command": command}


def measure_curve(model: str, *, threads: int, progress: Progress) -> JSON:
    """Every baseline, and the default codec, at all their settings on a model of the zoo."""
    with limited_threads(threads):
        points = quick_curve(checkpoints.read(entry(model).checkpoint), load_task(f"zoo:{model}"), progress)
    return [point.to_json() for point in points]


def measure_codecs(
    path: Path, qualities: Sequence[float], environment: Environment, *, threads: int, progress: Progress
) -> JSON:
    """All codecs on a checkpoint, at qualities that are those of its matrices and filters.

    A few large values, such as variances of batch norms, may hold nearly all of the mean square; then an error over all weights
    says nothing. offset_db: by how much the ratio over all weights is above that over matrices and filters.
    """
    offset = offset_db(model_weights(path).tensors)
    snrs = [min(quality + offset, _MOST_DB) for quality in qualities]
    (found,) = measure_speed([path], snrs, environment, threads, progress).checkpoints
    return _plain(found) | {"offset_db": offset, "qualities": list(snrs)}


def measure_rounded(path: Path, dtype: str, environment: Environment, *, threads: int, progress: Progress) -> JSON:
    """Lossless codecs on the weights of a checkpoint, rounded to another dtype."""
    model, target = model_weights(path), checkpoints.dtype_of(dtype)
    rounded = {name: tensor.to(target) if tensor.is_floating_point() else tensor for name, tensor in model.tensors.items()}
    with tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        copy = Path(scratch) / f"{dtype}.safetensors"
        checkpoints.write(checkpoints.from_object(rounded).layout, rounded, copy, "safetensors")
        (found,) = measure_speed([copy], (), environment, threads, progress).checkpoints
    return _plain(found)


def is_float32(path: Path) -> bool:
    """Whether all weights of a checkpoint are float32, so that rounding them to fewer bits makes sense."""
    return {tensor.dtype for tensor in model_weights(path).tensors.values() if tensor.is_floating_point()} == {torch.float32}


def measure_errors(path: Path, *, threads: int, progress: Progress) -> JSON:
    """What every lossy baseline makes of a checkpoint's weights at each setting: bytes, and dB over matrices and filters."""
    model = model_weights(path)
    jobs = [job for job in sweep() if not isinstance(job[2], Zstd)]
    found = []
    with limited_threads(threads):
        for number, (method, setting, codec) in enumerate(jobs):
            progress(ProgressEvent("baselines", number, len(jobs), f"{method}, {setting}"))
            coded = encode(model, codec)
            db = decibels(_matrix_mse(model.tensors, coded.restored))
            found.append({"method": method, "setting": setting, "bytes": len(coded.pack()), "matrix_db": db})
    return found


def bytes_at(points: Sequence[JSON], db: float) -> float | None:
    """The bytes of a method at a quality, between the settings around it: bytes are even steps per dB, nearly.

    None where its settings do not reach so far.

    >>> bytes_at([{"matrix_db": 10.0, "bytes": 100}, {"matrix_db": 20.0, "bytes": 300}], 15.0)
    200.0
    >>> bytes_at([{"matrix_db": 10.0, "bytes": 100}], 15.0)
    """
    known = sorted((point["matrix_db"], point["bytes"]) for point in points if point["matrix_db"] is not None)
    if not known or not known[0][0] <= db <= known[-1][0]:
        return None
    return float(np.interp(db, [quality for quality, _ in known], [size for _, size in known]))


def offset_db(tensors: Mapping[str, Tensor]) -> float:
    """10 log10(mean square of all weights' sum / that of matrices and filters), in dB.

    >>> round(offset_db({"weight": torch.ones(2, 2), "variance": torch.full((4,), 3.0)}), 6)
    10.0
    """
    total = sum(_energy(tensor) for tensor in tensors.values() if tensor.is_floating_point())
    inner = sum(_energy(tensor) for tensor in _matrices(tensors).values())
    return -decibels(total / inner) if inner else 0.0


def _matrix_mse(source: Mapping[str, Tensor], restored: Mapping[str, Tensor]) -> float:
    matrices = _matrices(source)
    energy = sum(map(_energy, matrices.values()))
    return (
        sum(_energy(restored[name].double() - tensor.double()) for name, tensor in matrices.items()) / energy if energy else 0.0
    )


def _matrices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of two and more axes, or all weights where there are none."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    return {name: tensor for name, tensor in floats.items() if tensor.ndim > 1} or floats


def _energy(tensor: Tensor) -> float:
    return float(tensor.double().square().sum())


def _plain(found: SideBySide) -> dict[str, JSON]:
    """Without the path, which is only where the checkpoint is on this machine."""
    return {name: value for name, value in replace(found, source="").to_json().items() if name != "input"}


def identity_of(recipe: Recipe) -> dict[str, JSON]:
    """What of a recipe the figures depend on."""
    return {name: value for name, value in asdict(recipe).items() if name != "seconds"}
