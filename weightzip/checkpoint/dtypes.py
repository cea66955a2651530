"""The dtypes that a stored tensor may have, and their names."""

from __future__ import annotations

import torch

from weightzip.errors import FormatError, UnsupportedCheckpointError

_NAMES = (
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float4_e2m1fn_x2",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex32",
    "complex64",
    "complex128",
)
_BY_NAME: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _NAMES}
_BY_DTYPE: dict[torch.dtype, str] = {dtype: name for name, dtype in _BY_NAME.items()}


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, without torch's prefix.

    Raises UnsupportedCheckpointError for a dtype that cannot be stored: quantised, or packed below one byte.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    name = _BY_DTYPE.get(dtype)
    if name is None:
        raise UnsupportedCheckpointError(f"{dtype} cannot be stored; convert the tensor to a plain dtype and save again")
    return name


def dtype_of(name: str) -> torch.dtype:
    """The dtype of that name. Raises FormatError where there is none.

    >>> dtype_of("float8_e5m2")
    torch.float8_e5m2
    """
    dtype = _BY_NAME.get(name)
    if dtype is None:
        raise FormatError(f"unknown dtype {name!r}; a newer weightzip may know it")
    return dtype
