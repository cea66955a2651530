"""The learned transforms of a file's tensors: each along some axes of a view of its tensor, undone in exact integers.

    tensor --cut--> [a, b, c] --encode along c, b, a--> latents [ra, rb, rc]          (in fine steps)
    tensor <-paste- [a, b, c] <-decode along a, b, c--- symbols [ra, rb, rc]          (integers, in units of step / 2^shift)

A product of linear decoders along several axes is a linear decoder again, whose basis is a Kronecker product: the same linear-
Gaussian VAE on longer vectors, with far fewer numbers to store. `transform_choice` says which are taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightzip.blocks.views import View, cut, paste, possible_views
from weightzip.entropy import decode, encode, encode_integers, read_integers
from weightzip.entropy.integers import deltas
from weightzip.errors import FormatError, LimitError
from weightzip.vae.linear import LinearDecoder, cosine_decoder, largest
from weightzip.vae.reflections import MAX_EXPONENT, Reflections, column_sizes

IDENTITY, COSINE, LEARNED = 0, 1, 2  # along an axis: nothing, the cosine transform, the learned decoder LEARNED + its number
MAX_LENGTH = 1024  # of an axis that has a transform
MAX_COSINES = 1 << 23  # numbers of the cosine transforms of all lengths that a file has
_MAX_BASIS_PER_WEIGHT = 3  # of a tensor's learned bases; 2.5 if each is learned from half as many vectors as it is long
_BATCH = 1 << 19  # weights restored at a time, which bounds memory
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
    _cosines: dict[int, LinearDecoder] = field(default_factory=dict, init=False, repr=False)  # those built so far, by length

    def latents(self, index: int, tensor: NDArray[Float]) -> NDArray[Float]:
        """Latents [ra, rb, rc] of a tensor, in the tensor's own unit."""
        latents = cut(tensor, self.views[index])
        for axis in (2, 1, 0):
            decoder = self.decoder(index, axis)
            if decoder is not None:
                latents = decoder.encode(latents, axis)
        return latents

    def latent_shape(self, index: int) -> Triple:
        """Shape of a tensor's latents."""
        first, second, third = (
            self.decoders[number - LEARNED].rank if number >= LEARNED else size
            for number, size in zip(self.choices[index].along, self.views[index].sizes, strict=True)
        )
        return first, second, third

    def restore(self, index: int, symbols: NDArray[np.int32], step: float) -> NDArray[np.float32]:
        """The tensor from symbols [ra, rb, rc] in units of `step`: exact integers, then one product and one rounding.

        Raises FormatError where numbers are too large to be exact. Infinite where float32 ends.
        """
        decoders = [self.decoder(index, axis) for axis in range(3)]
        unit = math.ldexp(step, -sum(decoder.shift for decoder in decoders if decoder))
        restored = np.empty(self.views[index].sizes, np.float32)
        with np.errstate(over="ignore"):
            for rows, integers in _decoded(symbols, decoders, restored.shape):
                # Integers may be float32, and with a scalar some versions of numpy would multiply in that.
                np.multiply(integers, unit, out=restored[rows], dtype=np.float64, casting="same_kind")
        return paste(restored, self.shapes[index])

    @cached_property
    def views(self) -> tuple[View, ...]:
        """How each tensor is cut."""
        return tuple(possible_views(shape)[choice.view] for shape, choice in zip(self.shapes, self.choices, strict=True))

    def only(self, indices: Sequence[int]) -> Transforms:
        """The same for some of the tensors, in that order."""
        shapes = tuple(self.shapes[index] for index in indices)
        return replace(self, shapes=shapes, choices=tuple(self.choices[index] for index in indices))

    def decoder(self, index: int, axis: int) -> LinearDecoder | None:
        """What undoes the transform along an axis of a tensor; None where there is none."""
        number = self.choices[index].along[axis]
        if number == IDENTITY:
            return None
        if number >= LEARNED:
            return self.decoders[number - LEARNED]
        length = self.views[index].sizes[axis]
        cosine = self._cosines.get(length)
        if cosine is None:  # threads that meet here all build it, and all build the same
            cosine = self._cosines[length] = cosine_decoder(length)
        return cosine


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
    for view, choice in zip(transforms.views, transforms.choices, strict=True):
        integers.append(choice.view)
        integers += [number for number, size in zip(choice.along, view.sizes, strict=True) if _may_transform(size)]
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
    transforms = Transforms(shapes, tuple(_read_choice(integers, shape) for shape in shapes), ())
    lengths = _basis_lengths(transforms, num_decoders)
    _check_sizes(transforms)
    exponents = [_read_exponents(integers, length) for length in lengths]
    return replace(transforms, decoders=tuple(_read_decoders(coded, lengths, exponents)))


def cosine_lengths(choice: Choice, sizes: Sequence[int]) -> set[int]:
    """Of the cosine transforms along the axes of a view of these sizes."""
    return {size for number, size in zip(choice.along, sizes, strict=True) if number == COSINE}


def _may_transform(size: int) -> bool:
    return 1 < size <= MAX_LENGTH


def _read_choice(integers: Iterator[int], shape: tuple[int, ...]) -> Choice:
    views = possible_views(shape)
    view = next(integers)
    if not 0 <= view < len(views):
        raise FormatError("a tensor has a view that its shape does not offer")
    first, second, third = (next(integers) if _may_transform(size) else IDENTITY for size in views[view].sizes)
    return Choice(view, (first, second, third))


def _check_sizes(transforms: Transforms) -> None:
    """Raise LimitError where bases would take more time and memory than the tensors that they serve."""
    cosines: set[int] = set()
    for choice, view in zip(transforms.choices, transforms.views, strict=True):
        learned = sum(size * size for number, size in zip(choice.along, view.sizes, strict=True) if number >= LEARNED)
        if learned > _MAX_BASIS_PER_WEIGHT * math.prod(view.sizes):
            raise LimitError(f"a learned transform is too large for its tensor: {learned:,} numbers")
        cosines |= cosine_lengths(choice, view.sizes)
    if sum(length * length for length in cosines) > MAX_COSINES:
        raise LimitError(f"the cosine transforms are too large: more than {MAX_COSINES:,} numbers")


def _basis_lengths(transforms: Transforms, num_decoders: int) -> list[int]:
    """The length of each learned decoder's vectors. Raises FormatError unless all are used, by axes of one length."""
    lengths: dict[int, int] = {}
    for choice, view in zip(transforms.choices, transforms.views, strict=True):
        for number, size in zip(choice.along, view.sizes, strict=True):
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
    sizes = [int(column_sizes(each.length, each.rank).sum()) for each in empty]
    numbers = decode(coded, sum(sizes), np.concatenate([each.classes() for each in empty]))
    for each, part in zip(empty, np.split(numbers, np.cumsum(sizes)[:-1]), strict=True):
        yield replace(LinearDecoder.of(replace(each, numbers=part)), reflections=None)  # which only encoding needs


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
