"""Which tensors a baseline compresses, and the way between torch tensors and arrays.

One rule for all lossy baselines, as in common practice: matrices and kernels are compressed; *small* tensors
(fewer than two dimensions, such as biases and norms, or fewer than 64 elements) are kept in float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from weightzip.baselines.floats import Weights, float_bytes
from weightzip.baselines.reader import Reader
from weightzip.errors import UsageError
from weightzip.interface import TensorSpec
from weightzip.progress import Progress, ProgressEvent

_SMALL = 64  # elements; below, a method's side information costs what it saves


def is_small(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is kept as it is, in float16."""
    num_elements = 1
    for size in shape:
        num_elements *= size
    return len(shape) < 2 or num_elements < _SMALL


def to_array(tensor: Tensor) -> Weights:
    """A float32 array [shape]; may share the tensor's memory, so never write to it."""
    array: Weights = tensor.detach().numpy()
    return array


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Weights], bytes]:
    """The tensors worth compressing, as matrices [rows, rest] by name, and the bytes of the small ones.

    Rows are the first dimension: the output channels of linear layers and convolutions.
    """
    large, small = {}, []
    for name, tensor in tensors.items():
        array = to_array(tensor)
        if is_small(array.shape):
            small.append(float_bytes(array, "float16"))
        else:
            large[name] = array.reshape(array.shape[0], -1)
    return large, b"".join(small)


def track(matrices: Mapping[str, Weights], stage: str, progress: Progress) -> Iterator[tuple[str, Weights]]:
    """The named matrices in order; reports each one done."""
    for done, (name, matrix) in enumerate(matrices.items(), start=1):
        yield name, matrix
        progress(ProgressEvent(stage, done, len(matrices), name))


def join(specs: Sequence[TensorSpec], small: Reader, decode_matrix: Callable[[int, int], Weights]) -> dict[str, Tensor]:
    """Undo `split`: tensors by name, the small ones read from `small`.

    decode_matrix: (rows, columns) -> the next matrix's values, any shape of rows * columns elements.
    """
    tensors = {}
    for spec in specs:
        if is_small(spec.shape):
            array = small.floats(spec.num_elements)
        else:
            array = decode_matrix(spec.shape[0], spec.num_elements // spec.shape[0])
        tensors[spec.name] = torch.from_numpy(array.reshape(spec.shape))
    return tensors


def check_setting(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise UsageError unless a baseline's setting is one of `allowed`."""
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; choose one of {', '.join(map(str, allowed))}")
