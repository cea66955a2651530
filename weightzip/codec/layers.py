"""Byte strings side by side, and coded arrays in groups, each under a model of its own, where a section holds several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weightzip.codec.symbols import CodedSymbols, Symbols, decode_points, encode_symbols
from weightzip.entropy.machine import Machine
from weightzip.errors import FormatError
from weightzip.quantise.axes import Shape

_LENGTH = 4  # bytes of a length, little-endian


def join(parts: Sequence[bytes]) -> bytes:
    """The lengths of all parts, then the parts."""
    return b"".join([*(len(part).to_bytes(_LENGTH, "little") for part in parts), *parts])


def split(data: bytes, count: int) -> list[bytes]:
    """Inverse of `join`, of so many parts. Raises FormatError."""
    parts, end = _split(data, 0, count)
    _check_end(data, end)
    return parts


def encode_layers(layers: Sequence[Symbols]) -> bytes:
    """Each with its model: the lengths of model and streams, model, streams."""
    coded = map(encode_symbols, layers)
    return b"".join(join([layer.model, layer.streams]) for layer in coded)


def decode_layers(data: bytes, layers: Sequence[Sequence[Shape]], machine: Machine) -> list[list[NDArray[np.int32]]]:
    """The points of the arrays of each layer, whose shapes are given. Raises FormatError."""
    found: list[list[NDArray[np.int32]]] = []
    end = 0
    for shapes in layers:
        (model, streams), end = _split(data, end, 2)
        found.append(list(decode_points(CodedSymbols(model, streams), shapes, machine)))
    _check_end(data, end)
    return found


def _split(data: bytes, start: int, count: int) -> tuple[list[bytes], int]:
    places = range(start, start + count * _LENGTH, _LENGTH)
    parts, end = [], start + count * _LENGTH
    for place in places:
        length = int.from_bytes(data[place : place + _LENGTH], "little")
        parts.append(data[end : end + length])
        end += length
    return parts, end


def _check_end(data: bytes, end: int) -> None:
    if end != len(data):
        raise FormatError("coded layers are cut short, or too long")
