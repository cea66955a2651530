"""What all codecs of a side-by-side measurement are given: the same weights, as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.errors import CheckpointError, OutputError

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_TINY = {"conv.weight": (32, 16, 3, 3), "conv.bias": (32,), "fc.weight": (64, 128), "fc.bias": (64,)}


@dataclass(frozen=True)
class Conditions:
    """What a process that measures a codec gets.

    folder: where it lives. tiny, weights: .safetensors files in it, one to warm up with, one to measure; all paths absolute.
    num_weights: elements of the floating-point tensors in `weights`. input_bytes: of these tensors, in their own dtypes.
    """

    folder: Path
    tiny: Path
    weights: Path
    threads: int
    num_weights: int
    input_bytes: int


def prepare(source: Path, folder: Path, threads: int) -> Conditions:
    """Write the files. Raises CheckpointError, or OutputError where there is no room for them."""
    generator = torch.Generator().manual_seed(0)
    tiny = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in _TINY.items()}
    model = model_weights(source)
    floats = [tensor for tensor in model.tensors.values() if tensor.is_floating_point()]
    return Conditions(
        folder=folder,
        tiny=_write(checkpoints.from_object(tiny), folder / "tiny.safetensors"),
        weights=_write(model, folder / "weights.safetensors"),
        threads=threads,
        num_weights=sum(tensor.numel() for tensor in floats),
        input_bytes=sum(tensor.nbytes for tensor in floats),
    )


def model_weights(source: Path) -> Checkpoint:
    """The model's own tensors, without what trained it, so that every codec has the same to do.

    Floating-point tensors that are not finite, or of a dtype that other codecs do not know (float8), are left out.
    Raises CheckpointError, also where no weights are left.
    """
    found = checkpoints.read(source)
    state = checkpoints.state_dict(found.layout, found.tensors)
    distinct = checkpoints.from_object(state, source.name).tensors if state else {}
    kept = {name: tensor for name, tensor in distinct.items() if _is_plain(tensor)}
    if not any(tensor.is_floating_point() and tensor.numel() for tensor in kept.values()):
        raise CheckpointError(f"{source}: has no floating-point weights to measure codecs on")
    return checkpoints.from_object(kept, source.name)


def _is_plain(tensor: Tensor) -> bool:
    if tensor.is_floating_point():
        return tensor.dtype in _DTYPES and bool(torch.isfinite(tensor).all())
    return not tensor.is_complex()


def _write(model: Checkpoint, path: Path) -> Path:
    try:
        checkpoints.write(model.layout, model.tensors, path, "safetensors")
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be written: {error.strerror or error}; free some space") from error
    return path
