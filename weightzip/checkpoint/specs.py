"""What is known of tensors besides their values."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from weightzip.checkpoint.dtypes import dtype_name, dtype_of
from weightzip.interface import TensorSpec


def specs_of(tensors: Mapping[str, Tensor]) -> tuple[TensorSpec, ...]:
    """Names, shapes and dtypes of tensors. Raises UnsupportedCheckpointError for a dtype that cannot be stored."""
    return tuple(TensorSpec(name, tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in tensors.items())


def num_bytes(spec: TensorSpec) -> int:
    """Bytes of a tensor's values."""
    return spec.num_elements * dtype_of(spec.dtype).itemsize
