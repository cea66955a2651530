"""A checkpoint of any size, made up: what a large transformer's looks like, written without ever holding more than a few rows.

SyntheticModel --tensor_shapes--> names, shapes --shards--> files --rows, a block at a time--> model-00001-of-00004.safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from weightzip.errors import OutputError, UsageError
from weightzip.files import check_space

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_DTYPES = {"float32": (torch.float32, "F32"), "bfloat16": (torch.bfloat16, "BF16"), "float16": (torch.float16, "F16")}
DTYPES = tuple(_DTYPES)
SMALLEST = 100_000  # bytes; fewer are no transformer
_BLOCK = 1 << 20  # elements that are made at once
_LAYERS = 12  # roughly, where the size of the largest tensor allows
_NARROWEST, _WIDTH_STEP = 16, 16
_SPREADS = (0.05, 0.7)  # of the standard deviation of the logarithm of a tensor's row and column scales

Shape = tuple[int, ...]


@dataclass(frozen=True)
class SyntheticModel:
    """What to make up. num_bytes: of all tensors, roughly. largest_bytes: of the largest tensor, at most; None: a sixteenth.

    dtype: of `DTYPES`. shard_bytes: of a file, at most, unless one tensor alone takes more.
    Raises UsageError for sizes that no transformer has.
    """

    num_bytes: int
    largest_bytes: int | None = None
    dtype: str = "float32"
    seed: int = 0
    shard_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        if self.num_bytes < SMALLEST:
            raise UsageError(f"a synthetic checkpoint has at least {SMALLEST:,} bytes, not {self.num_bytes:,}")
        smallest = 4 * _NARROWEST**2 * self.itemsize
        if not smallest <= self.largest <= self.num_bytes:
            raise UsageError(f"the largest tensor has {smallest:,} to {self.num_bytes:,} bytes, not {self.largest:,}")

    @property
    def itemsize(self) -> int:
        """Bytes of a weight."""
        return _DTYPES[self.dtype][0].itemsize

    @property
    def largest(self) -> int:
        """Bytes that the largest tensor takes at most."""
        return self.num_bytes // 16 if self.largest_bytes is None else self.largest_bytes


def tensor_shapes(model: SyntheticModel) -> dict[str, Shape]:
    """Names and shapes: an embedding, which is the largest, and as many layers as the size asks for, at least one."""
    weights, largest = model.num_bytes // model.itemsize, model.largest // model.itemsize
    width = math.isqrt(min(largest // 4, weights // (12 * _LAYERS)))  # an MLP's matrix is 4 width^2, a layer 12 width^2
    width = max(_NARROWEST, width // _WIDTH_STEP * _WIDTH_STEP)
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (largest // width, width)}
    layer = _layer_shapes(width)
    in_layers = weights - math.prod(shapes["model.embed_tokens.weight"])
    for number in range(max(1, round(in_layers / sum(map(math.prod, layer.values()))))):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (width,)}


def _layer_shapes(width: int) -> dict[str, Shape]:
    attention = {f"self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
    mlp = {
        "mlp.up_proj.weight": (4 * width, width),
        "mlp.up_proj.bias": (4 * width,),
        "mlp.down_proj.weight": (width, 4 * width),
    }
    return attention | mlp | {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}


def write_synthetic(model: SyntheticModel, folder: Path) -> None:
    """Write the checkpoint into an existing folder: shards and their index, or, as usual, one file if all fits into it.

    The same settings give the same bytes. Raises OutputError where there is no room.
    """
    shapes = tensor_shapes(model)
    check_space(folder / SINGLE, model.itemsize * sum(map(math.prod, shapes.values())))
    keys = _shards(shapes, model)
    names = [f"model-{number:05}-of-{len(keys):05}.safetensors" for number in range(1, len(keys) + 1)]
    shards = dict(zip(names if len(keys) > 1 else [SINGLE], keys, strict=True))
    try:
        for name in shards:
            _write_shard(folder / name, shards[name], shapes, model)
        if len(shards) > 1:
            (folder / INDEX).write_text(_index(shards, shapes, model.itemsize))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}; free some space") from error


def checkpoint_path(folder: Path) -> Path:
    """What to compress of a folder that was written so: the folder, or its only file."""
    return folder if (folder / INDEX).exists() else folder / SINGLE


def _shards(shapes: Mapping[str, Shape], model: SyntheticModel) -> list[list[str]]:
    """The names that go into each file, in order."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        num_bytes = model.itemsize * math.prod(shape)
        if shards[-1] and filled + num_bytes > model.shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += num_bytes
    return shards


def _index(shards: Mapping[str, Sequence[str]], shapes: Mapping[str, Shape], itemsize: int) -> str:
    total = itemsize * sum(map(math.prod, shapes.values()))
    weight_map = {key: name for name, keys in shards.items() for key in keys}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)


def _write_shard(path: Path, keys: Sequence[str], shapes: Mapping[str, Shape], model: SyntheticModel) -> None:
    dtype, code = _DTYPES[model.dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key in keys:
        start, end = end, end + dtype.itemsize * math.prod(shapes[key])
        header[key] = {"dtype": code, "shape": shapes[key], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    numbers = {name: number for number, name in enumerate(shapes)}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in keys:
            random = np.random.Generator(np.random.PCG64([model.seed, numbers[key]]))
            _write_tensor(file, shapes[key], dtype, random)


def _write_tensor(file: BinaryIO, shape: Shape, dtype: torch.dtype, random: np.random.Generator) -> None:
    for block in _matrix_blocks(shape, random) if len(shape) == 2 else [_vector(shape, random)]:
        file.write(torch.from_numpy(block).to(dtype).view(torch.uint8).numpy().data)


def _vector(shape: Shape, random: np.random.Generator) -> NDArray[np.float32]:
    """A norm's weights, or biases: around 1, or around 0."""
    return random.normal(random.integers(2), 0.1, shape).astype(np.float32)


def _matrix_blocks(shape: Shape, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Rows [n, columns] of a matrix, a block at a time: Gaussian, each row and column with a scale of its own.

    The spreads of the scales differ from tensor to tensor, so that neither one scale nor one table of symbols suits all.
    """
    rows, columns = shape
    row_spread, column_spread = random.uniform(*_SPREADS, 2)
    row_scales = np.exp(random.normal(0, row_spread, rows)).astype(np.float32)  # [rows]
    column_scales = np.exp(random.normal(0, column_spread, columns)).astype(np.float32) / np.float32(math.sqrt(columns))
    step = max(1, _BLOCK // columns)
    for first in range(0, rows, step):
        scales = row_scales[first : first + step, None] * column_scales
        yield random.standard_normal(scales.shape, np.float32) * scales
