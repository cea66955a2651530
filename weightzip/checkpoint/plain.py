"""Plain values (numbers, strings, bytes, torch's small types) as JSON and back.

What JSON has stands for itself; the rest is an array whose first element is a tag: ["complex", 1.0, -2.0].
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable

import torch

from weightzip.checkpoint.dtypes import dtype_name, dtype_of
from weightzip.checkpoint.places import TreePath, describe
from weightzip.errors import FormatError, UnsupportedCheckpointError
from weightzip.interface import JSON

_JSON_INT = 1 << 63  # larger integers are written in hexadecimal: decimal text of any length takes quadratic time

_LAYOUTS = {
    str(layout).removeprefix("torch."): layout
    for layout in (
        torch.strided,
        torch.sparse_coo,
        torch.sparse_csr,
        torch.sparse_csc,
        torch.sparse_bsr,
        torch.sparse_bsc,
        torch.jagged,
    )
}


def encode_plain(value: object, path: TreePath) -> JSON:
    """A leaf that is no tensor, as JSON. Raises UnsupportedCheckpointError, naming the place, for any other type."""
    encode = _ENCODERS.get(type(value))
    if encode is None:
        name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise UnsupportedCheckpointError(
            f"a value of type {name} {describe(path)} cannot be stored; replace it by plain data and save again"
        )
    try:
        return encode(value)
    except UnsupportedCheckpointError as error:
        raise UnsupportedCheckpointError(f"{error} ({describe(path)})") from None


def decode_plain(tag: str, arguments: list[JSON]) -> object:
    """The value behind [tag, *arguments]. Raises FormatError for an unknown tag or unfit arguments."""
    decode = _DECODERS.get(tag)
    if decode is None:
        raise FormatError(f"layout: unknown kind of value {tag!r}; a newer weightzip may know it")
    try:
        return decode(*arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError, binascii.Error) as error:
        raise FormatError(f"layout: {tag} with unfit arguments: {error}") from error


def _encode_int(value: int) -> JSON:
    return value if -_JSON_INT <= value < _JSON_INT else ["int", hex(value)]


def _encode_float(value: float) -> JSON:
    return value if math.isfinite(value) else ["float", str(value)]


def _encode_complex(value: complex) -> JSON:
    return ["complex", str(value.real), str(value.imag)]


def _encode_text(value: str) -> str:
    """The string itself. Raises UnsupportedCheckpointError where it is not valid Unicode (lone surrogates)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnsupportedCheckpointError(f"the string {value!r} is not valid Unicode; replace it and save again") from None
    return value


def _encode_bytes(value: bytes | bytearray) -> JSON:
    return [type(value).__name__, base64.b64encode(value).decode()]


def _decode_float(text: str) -> float:
    return float(_text(text))


def _decode_complex(real: str, imaginary: str) -> complex:
    return complex(float(_text(real)), float(_text(imaginary)))


def _decode_size(*sizes: int) -> torch.Size:
    if not all(type(size) is int for size in sizes):
        raise ValueError("sizes are integers")
    return torch.Size(sizes)


def _encode_layout(value: torch.layout) -> JSON:
    name = str(value).removeprefix("torch.")
    if name not in _LAYOUTS:
        raise UnsupportedCheckpointError(f"{value} cannot be stored; remove it and save again")
    return ["layout", name]


def _decode_layout(name: str) -> torch.layout:
    if _text(name) not in _LAYOUTS:
        raise ValueError(f"no layout {name!r}")
    return _LAYOUTS[name]


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {value!r}")
    return value


_ENCODERS: dict[type, Callable[..., JSON]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: _encode_int,
    float: _encode_float,
    complex: _encode_complex,
    str: _encode_text,
    bytes: _encode_bytes,
    bytearray: _encode_bytes,
    torch.Size: lambda value: ["size", *value],
    torch.dtype: lambda value: ["dtype", dtype_name(value)],
    torch.device: lambda value: ["device", str(value)],
    torch.layout: _encode_layout,
}

_DECODERS: dict[str, Callable[..., object]] = {
    "int": lambda text: int(_text(text), 16),
    "float": _decode_float,
    "complex": _decode_complex,
    "bytes": lambda text: base64.b64decode(_text(text), validate=True),
    "bytearray": lambda text: bytearray(base64.b64decode(_text(text), validate=True)),
    "size": _decode_size,
    "dtype": lambda name: dtype_of(_text(name)),
    "device": lambda name: torch.device(_text(name)),
    "layout": _decode_layout,
}
