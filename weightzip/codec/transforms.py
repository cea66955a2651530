"""The learned transforms of a file's tensors: each along some axes of a view of its tensor, undone in exact integers.

    tensor --cut--> [a, b, c] --encode along c, b, a--> latents [ra, rb, rc]          (in fine steps)
    tensor <-paste- [a, b, c] <-decode along a, b, c--- symbols [ra, rb, rc]          (integers, in units of step / 2^shift)

A product of linear decoders along several axes is a linear decoder again, whose basis is a Kronecker product: the same linear-
Gaussian VAE on longer vectors, with far fewer numbers to store. `transform_choice` says which are taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightzip.blocks.views import View, cut, paste, possible_views
from weightzip.entropy import decode, encode, encode_integers, read_integers
from weightzip.entropy.integers import deltas
from weightzip.errors import FormatError, LimitError
from weightzip.vae.linear import LinearDecoder, cosine_decoder, largest
from weightzip.vae.reflections import MAX_EXPONENT, Reflections

IDENTITY, COSINE, LEARNED = 0, 1, 2  # along an axis: nothing, the cosine transform, the learned decoder LEARNED + its number
MAX_LENGTH = 1024  # of an axis that has a transform
_MAX_BASIS = 1 << 16  # numbers of all bases of a file of few weights
_MAX_BASIS_PER_WEIGHT = 4
_BATCH = 1 << 21  # weights restored at a time, which bounds memory
Triple = tuple[int, int, int]
Float = TypeVar("Float", np.float32, np.float64)


@dataclass(frozen=True)
class Choice:
    """view: number among the shape's possible views; along: what each of its axes is transformed with."""

    view: int = 0
    along: Triple = (IDENTITY, IDENTITY, IDENTITY)


@dataclass(frozen=True, eq=False)
class Transforms:
    """shapes and choices: one per tensor; decoders: those that were learned."""

    shapes: tuple[tuple[int, ...], ...]
    choices: tuple[Choice, ...]
    decoders: tuple[LinearDecoder, ...]

    def latents(self, index: int, tensor: NDArray[Float]) -> NDArray[Float]:
        """Latents [ra, rb, rc] of a tensor, in the tensor's own unit."""
        latents = cut(tensor, self._view(index))
        for axis in (2, 1, 0):
            decoder = self._decoder(index, axis)
            if decoder is not None:
                latents = decoder.encode(latents, axis)
        return latents

    def latent_shape(self, index: int) -> Triple:
        """Shape of a tensor's latents."""
        decoders = [self._decoder(index, axis) for axis in range(3)]
        sizes = [decoder.rank if decoder else size for decoder, size in zip(decoders, self._view(index).sizes, strict=True)]
        return sizes[0], sizes[1], sizes[2]

    def restore(self, index: int, symbols: NDArray[np.int32], step: float) -> NDArray[np.float32]:
        """The tensor from symbols [ra, rb, rc] in units of `step`: exact integers, then one product and one rounding.

        Raises FormatError where numbers are too large to be exact. Infinite where float32 ends.
        """
        decoders = [self._decoder(index, axis) for axis in range(3)]
        unit = math.ldexp(step, -sum(decoder.shift for decoder in decoders if decoder))
        restored = np.empty(self._view(index).sizes, np.float32)
        with np.errstate(over="ignore"):
            for rows, integers in _decoded(symbols, decoders, restored.shape):
                restored[rows] = integers * np.float64(unit)
        return paste(restored, self.shapes[index])

    def _view(self, index: int) -> View:
        return possible_views(self.shapes[index])[self.choices[index].view]

    def _decoder(self, index: int, axis: int) -> LinearDecoder | None:
        number = self.choices[index].along[axis]
        if number == IDENTITY:
            return None
        return cosine_decoder(self._view(index).sizes[axis]) if number == COSINE else self.decoders[number - LEARNED]


def _decoded(
    symbols: NDArray[np.int32], decoders: Sequence[LinearDecoder | None], sizes: tuple[int, ...]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Exact integers [rows, b, c] of one slice of the first axis after the other."""
    bounds = [largest(symbols)]  # of what goes into the decoder along each axis
    for decoder in decoders:
        bounds.append(bounds[-1] * (decoder.growth if decoder else 1.0))
    height = max(1, _BATCH // max(sizes[1] * sizes[2], 1))
    for start in range(0, sizes[0], height):
        rows = slice(start, start + height)
        integers: NDArray[Any] = decoders[0].decode_rows(symbols, rows, bound=bounds[0]) if decoders[0] else symbols[rows]
        for axis in (1, 2):
            decoder = decoders[axis]
            if decoder:
                integers = decoder.decode(integers, axis, bound=bounds[axis])
        yield rows, integers


def encode_transforms(transforms: Transforms) -> bytes:
    """One section: the choices, and the learned bases. Nothing at all where no tensor has a transform."""
    if all(choice == Choice() for choice in transforms.choices):
        return b""
    integers: list[int] = [len(transforms.decoders)]
    for shape, choice in zip(transforms.shapes, transforms.choices, strict=True):
        integers.append(choice.view)
        sizes = possible_views(shape)[choice.view].sizes
        integers += [number for number, size in zip(choice.along, sizes, strict=True) if _may_transform(size)]
    for decoder in transforms.decoders:
        assert decoder.reflections  # as all learned decoders have
        integers += [decoder.length - decoder.rank, *deltas(decoder.reflections.exponents.tolist())]
    return _join(encode_integers(integers), encode_reflections(transforms.decoders))


def encode_reflections(decoders: Sequence[LinearDecoder]) -> bytes:
    """The numbers of all learned bases; their exponents are stored elsewhere."""
    stored = [decoder.reflections for decoder in decoders if decoder.reflections]
    if not stored:
        return b""
    return encode(np.concatenate([each.numbers for each in stored]), np.concatenate([each.classes() for each in stored]))


def decode_transforms(data: bytes, shapes: Sequence[tuple[int, ...]]) -> Transforms:
    """What `encode_transforms` coded for tensors of these shapes.

    Raises FormatError where that cannot be, LimitError where the bases are larger than the tensors allow.
    """
    shapes = tuple(tuple(shape) for shape in shapes)
    if not data:
        return Transforms(shapes, (Choice(),) * len(shapes), ())
    header, coded = _split(data)
    integers = read_integers(header)
    num_decoders = next(integers)
    choices = tuple(_read_choice(integers, shape) for shape in shapes)
    sizes = _basis_sizes(choices, shapes, num_decoders)
    limit = _MAX_BASIS + _MAX_BASIS_PER_WEIGHT * sum(math.prod(shape) for shape in shapes)
    if sum(length * length for length in sizes) > limit:
        raise LimitError(f"the transforms are too large for the tensors: more than {limit:,} numbers")
    exponents = [_read_exponents(integers, length) for length in sizes]
    return Transforms(shapes, choices, tuple(_read_decoders(coded, sizes, exponents)))


def _may_transform(size: int) -> bool:
    return 1 < size <= MAX_LENGTH


def _read_choice(integers: Iterator[int], shape: tuple[int, ...]) -> Choice:
    views = possible_views(shape)
    view = next(integers)
    if not 0 <= view < len(views):
        raise FormatError("a tensor has a view that its shape does not offer")
    first, second, third = (next(integers) if _may_transform(size) else IDENTITY for size in views[view].sizes)
    return Choice(view, (first, second, third))


def _basis_sizes(choices: Sequence[Choice], shapes: Sequence[tuple[int, ...]], num_decoders: int) -> list[int]:
    """The length of each learned decoder's vectors. Raises FormatError unless all are used, by axes of one length."""
    lengths: dict[int, int] = {}
    for choice, shape in zip(choices, shapes, strict=True):
        for number, size in zip(choice.along, possible_views(shape)[choice.view].sizes, strict=True):
            if number < IDENTITY or (number >= LEARNED and lengths.setdefault(number - LEARNED, size) != size):
                raise FormatError("a transform does not fit its tensor")
    if len(lengths) != num_decoders or sorted(lengths) != list(range(len(lengths))):
        raise FormatError("the transforms are not those that the tensors use")
    return [lengths[number] for number in range(num_decoders)]


def _read_exponents(integers: Iterator[int], length: int) -> NDArray[np.int32]:
    rank = length - next(integers)
    if not 0 < rank <= length:
        raise FormatError("a transform has more latents than its vectors have values, or none")
    exponents = np.cumsum([next(integers) for _ in range(rank)])
    if exponents.min() < 0 or exponents.max() > MAX_EXPONENT:
        raise FormatError("a transform's precision is out of range")
    return exponents.astype(np.int32)


def _read_decoders(coded: bytes, lengths: Sequence[int], exponents: Sequence[NDArray[np.int32]]) -> Iterator[LinearDecoder]:
    if not lengths:
        return
    empty = [Reflections(length, each, np.zeros(0, np.int32)) for length, each in zip(lengths, exponents, strict=True)]
    classes = [each.classes() for each in empty]
    numbers = decode(coded, sum(map(len, classes)), np.concatenate(classes))
    for each, part in zip(empty, np.split(numbers, np.cumsum([len(part) for part in classes])[:-1]), strict=True):
        yield LinearDecoder.of(replace(each, numbers=part))


def _join(*parts: bytes) -> bytes:
    """Byte strings, each behind its length in base 128."""
    joined = bytearray()
    for part in parts:
        length = len(part)
        while length > 127:
            joined.append(128 | length & 127)
            length >>= 7
        joined.append(length)
        joined += part
    return bytes(joined)


def _split(data: bytes) -> list[bytes]:
    """Two byte strings that `_join` joined. Raises FormatError."""
    parts: list[bytes] = []
    end = 0
    for _ in range(2):
        length = shift = 0
        more = True
        while more:
            if end >= len(data) or shift > 56:
                raise FormatError("the transforms are cut short")
            length |= (data[end] & 127) << shift
            more, shift, end = data[end] > 127, shift + 7, end + 1
        if length > len(data) - end:
            raise FormatError("the transforms are cut short")
        parts.append(data[end : end + length])
        end += length
    if end != len(data):
        raise FormatError("bytes follow the transforms")
    return parts
