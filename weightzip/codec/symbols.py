"""Arrays of latents as two byte strings: the model that tells their probabilities, and their symbols under it.

    latents [a, b, c] in fine steps --scales--> classes --trellis search, tables fitted in turn--> symbols --ANS--> streams

The one place where latents become bytes; the weights' codec and the paper's decoder both go through it. Arrays are coded in
streams of at least STREAM symbols, each of which can be decoded by itself, given the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weightzip.entropy import decode, decode_integers, encode, encode_integers, read_integers
from weightzip.entropy.machine import SCALAR, Machine, chunks, trellis
from weightzip.entropy.magnitudes import MAX_CLASSES, MagnitudeTables
from weightzip.entropy.streams import count_symbols, decode_start, decode_stream, encode_stream
from weightzip.errors import FormatError
from weightzip.quantise.axes import (
    CLASS_OF_ONE_STEP,
    CLASSES_PER_OCTAVE,
    AxisScales,
    Shape,
    axis_integers,
    axis_scales,
    count_told,
    fit_axis_scales,
)
from weightzip.quantise.shorten import shortened
from weightzip.quantise.trellis import NUM_PRICES, TRELLIS_TRADEOFF, run_machine, search
from weightzip.threads import side_by_side

STREAM = 1 << 16
_PASSES = ((1 << 16, 8), (1 << 18, 4))  # of search and fit before the last search: latents looked at, how often
_SHORTENINGS = 4
_MAX_SHORTENED = 1 << 21  # latents; of more, scales take next to nothing
_MAX_ADAPTIVE = 4096  # longer lists of scales get a table of their own, which reads a thousand times faster
_LARGEST_SYMBOL = 2.0**30 - 1  # twice this is a point, which must fit 32 bits


@dataclass(frozen=True)
class Symbols:
    """symbols, quantisers: flat, array after array; scales: of each array; machine: what the symbols drive."""

    symbols: NDArray[np.int32]
    quantisers: NDArray[np.uint8]
    scales: tuple[AxisScales, ...]
    machine: Machine


@dataclass(frozen=True)
class CodedSymbols:
    """What `encode_symbols` makes."""

    model: bytes
    streams: bytes


def quantise_latents(latents: Sequence[NDArray[np.float32]], *, num_states: int, tradeoff: float = TRELLIS_TRADEOFF) -> Symbols:
    """The best bargain of error and bits for arrays of latents [a, b, c] in fine steps, at one price for all of them."""
    scales = tuple(fit_axis_scales(array) for array in latents)
    machine = trellis(num_states)
    values = np.concatenate([array.reshape(-1) for array in latents]) if len(latents) > 1 else latents[0].reshape(-1)
    classes = _classes(scales)
    parts = chunks([sum(sizes) for sizes in _streams([array.size for array in latents])])
    prices = _fitted_prices(values, classes, parts, machine, tradeoff)
    symbols = search(values, classes, parts, machine, prices, tradeoff)
    return Symbols(symbols, run_machine(symbols, parts, machine), scales, machine)


def round_latents(latents: Sequence[NDArray[np.floating]]) -> Symbols:
    """Latents [a, b, c] in units of two fine steps, each to the nearest symbol, none off by more than half a unit."""
    rounded = [np.clip(np.rint(array), -_LARGEST_SYMBOL, _LARGEST_SYMBOL).astype(np.int32) for array in latents]
    scales = tuple(fit_axis_scales(2 * array.astype(np.float32)) for array in rounded)
    symbols = np.concatenate([array.reshape(-1) for array in rounded])
    return Symbols(symbols, np.zeros(symbols.size, np.uint8), scales, SCALAR)


def shorten(coded: Symbols) -> Symbols:
    """The same symbols under scales that take fewer bytes with them, where there are any; large arrays stay as they are."""
    if coded.symbols.size > _MAX_SHORTENED:
        return coded
    ends = np.cumsum([math.prod(scales.shape) for scales in coded.scales])[:-1]
    parts = list(zip(np.split(coded.symbols, ends), np.split(coded.quantisers, ends), strict=True))
    shorter = coded
    for _ in range(_SHORTENINGS):
        counts = count_symbols(shorter.symbols, _classes(shorter.scales), shorter.quantisers, MAX_CLASSES)
        prices = MagnitudeTables.fit(counts, (0,)).bits(MAX_CLASSES, NUM_PRICES)
        scales = tuple(shortened(*part, before, prices) for part, before in zip(parts, shorter.scales, strict=True))
        shorter = replace(shorter, scales=scales)
    return min(coded, shorter, key=_size)


def _size(coded: Symbols) -> int:
    both = encode_symbols(coded)
    return len(both.model) + len(both.streams)


def encode_symbols(coded: Symbols) -> CodedSymbols:
    """The symbols as bytes; the arrays' shapes and the machine are not stored."""
    classes = _classes(coded.scales)
    tables = MagnitudeTables.fit(count_symbols(coded.symbols, classes, coded.quantisers, MAX_CLASSES))

    def stream(part: slice) -> bytes:
        return encode_stream(coded.symbols[part], classes[part], coded.quantisers[part], tables)

    ends = np.cumsum([0, *(sum(sizes) for sizes in _streams([math.prod(scale.shape) for scale in coded.scales]))]).tolist()
    streams = side_by_side(stream, [slice(start, end) for start, end in pairwise(ends)], np.diff(ends).tolist())
    return CodedSymbols(_encode_model(coded.scales, tables, streams), b"".join(streams))


def decode_points(coded: CodedSymbols, shapes: Sequence[Shape], machine: Machine) -> Iterator[NDArray[np.int32]]:
    """The points of arrays of these shapes, one array after the other. Raises FormatError where the bytes do not fit them."""
    streams = PointStreams(coded, shapes, machine)
    return (points for group in streams.groups for points in streams.decode(group))


class PointStreams:
    """Coded symbols, of which any stream can be decoded without the others.

    groups: the arrays that each stream holds, by index; stream_bytes: what each of them takes. scales: of each array;
    num_codes: how many codes were told for them, and code_bytes: what all codes take of the model.
    """

    def __init__(self, coded: CodedSymbols, shapes: Sequence[Shape], machine: Machine) -> None:
        """Reads the model. Raises FormatError where the bytes do not fit arrays of these shapes."""
        sizes = _streams([math.prod(shape) for shape in shapes])
        model = _Model.read(coded.model, shapes, len(sizes))
        self.scales, self._tables, self.stream_bytes = model.scales, model.tables, model.stream_bytes
        self.num_codes, self.code_bytes = model.num_codes, model.code_bytes
        if sum(self.stream_bytes) != len(coded.streams):
            raise FormatError("the streams of symbols are longer or shorter than they should be")
        firsts = np.cumsum([0, *map(len, sizes)]).tolist()
        starts = np.cumsum([0, *self.stream_bytes]).tolist()
        self.groups = [range(first, end) for first, end in pairwise(firsts)]
        self._data = {first: coded.streams[start:end] for first, (start, end) in zip(firsts, pairwise(starts), strict=False)}
        self._shapes, self._machine = shapes, machine

    def decode(self, group: range) -> list[NDArray[np.int32]]:
        """The points of the arrays of one group. Raises FormatError where its stream does not fit them."""
        classes = _classes(self.scales[group.start : group.stop])
        points = decode_stream(self._data[group.start], classes, self._tables, self._machine)
        shapes = self._shapes[group.start : group.stop]
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(points, ends), shapes, strict=True)]

    def ideal_bits(self, group: range, count: int) -> NDArray[np.float32]:
        """The ideal code length of each point of the first `count` arrays of a group, under the tables of the file.

        Signs and raw bits are included; what a stream takes besides (its length, its last state) is not.
        Raises FormatError where there are not as many points.
        """
        if not count:
            return np.zeros(0, np.float32)
        classes = _classes(self.scales[group.start : group.start + count])
        points = decode_start(self._data[group.start], classes, self._tables, self._machine)
        magnitudes = (np.abs(points) + 1) >> 1
        symbols = np.sign(points) * magnitudes
        quantisers = run_machine(symbols, chunks([symbols.size]), self._machine)
        return self._tables.code_lengths(magnitudes, classes, quantisers)


def _classes(scales: Sequence[AxisScales]) -> NDArray[np.uint8]:
    """The classes of all latents of all arrays, flat."""
    return np.concatenate([scale.classes() for scale in scales])


def _streams(sizes: Sequence[int]) -> list[list[int]]:
    """Sizes of arrays, in groups of neighbours that share a stream."""
    groups: list[list[int]] = []
    left = 0  # symbols that the last group still lacks
    for size in sizes:
        if left <= 0:
            groups.append([])
            left = STREAM
        groups[-1].append(size)
        left -= size
    if len(groups) > 1 and left > 0:
        last = groups.pop()
        groups[-1] += last
    return groups


def _fitted_prices(
    values: NDArray[np.float32], classes: NDArray[np.uint8], parts: NDArray[np.int64], machine: Machine, tradeoff: float
) -> NDArray[np.float32]:
    """Bits of each magnitude, by class and quantiser, from searches of a sample of the chunks, each at the bits of the last."""
    prices = _gaussian_prices()
    for size, passes in _PASSES:
        sample = _sampled(values, classes, parts, size)
        for _ in range(passes):
            symbols = search(*sample, machine, prices, tradeoff)
            counts = count_symbols(symbols, sample[1], run_machine(symbols, sample[2], machine), MAX_CLASSES)
            prices = MagnitudeTables.fit(counts, (0,)).bits(MAX_CLASSES, NUM_PRICES)
    return prices


def _sampled(
    values: NDArray[np.float32], classes: NDArray[np.uint8], parts: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.int64]]:
    """Every so many-th chunk, about `size` values in all: their values, their classes, and where each chunk lies then."""
    chosen = parts[:: max(1, values.size // size)]
    positions = np.concatenate([np.arange(start, start + length) for start, length in chosen] or [np.zeros(0, np.int64)])
    ends = np.cumsum(chosen[:, 1])
    return values[positions], classes[positions], np.column_stack([ends - chosen[:, 1], chosen[:, 1]])


def _gaussian_prices() -> NDArray[np.float32]:
    """Where the searches start: what Gaussian latents of each class's deviation would cost."""
    deviation = np.maximum(2.0 ** ((np.arange(MAX_CLASSES) - CLASS_OF_ONE_STEP) / CLASSES_PER_OCTAVE), 0.4)
    magnitudes = np.arange(NUM_PRICES)
    places = 2 * magnitudes - np.array([[0], [1]]) * (magnitudes > 0)  # [2, NUM_PRICES]
    likelihood = np.exp(-0.5 * np.square(places / deviation[:, None, None])) + 1e-5
    likelihood[:, :, 1:] *= 2.0
    bits = np.log2(likelihood.sum(axis=2, keepdims=True)) - np.log2(likelihood)
    bits[:, :, 1:] += 1.0
    prices: NDArray[np.float32] = bits.astype(np.float32)
    return prices


def _encode_model(scales: Sequence[AxisScales], tables: MagnitudeTables, streams: Sequence[bytes]) -> bytes:
    axes = [axis_integers(scale) for scale in scales]
    modes = [len(stream) for stream in streams] + [mode for told, _ in axes for mode in told]
    codes = np.concatenate([told for _, told in axes]) if axes else np.zeros(0, np.int32)
    long = codes.size > _MAX_ADAPTIVE
    parts = [
        encode_integers(tables.to_integers()),
        encode_integers(modes),
        encode(codes) if long else encode_integers(codes.tolist()),
    ]
    return b"".join(len(part).to_bytes(3, "little") for part in parts[:2]) + b"".join(parts)


@dataclass(frozen=True)
class _Model:
    """What the model of some arrays tells; see `PointStreams`."""

    scales: list[AxisScales]
    tables: MagnitudeTables
    stream_bytes: list[int]
    num_codes: list[int]
    code_bytes: int

    @staticmethod
    def read(data: bytes, shapes: Sequence[Shape], num_streams: int) -> _Model:
        """Inverse of `_encode_model`. Raises FormatError."""
        ends = np.cumsum([6, int.from_bytes(data[:3], "little"), int.from_bytes(data[3:6], "little")])
        if ends[-1] > len(data):
            raise FormatError("the model of the symbols is cut short")
        tables = MagnitudeTables.from_integers(read_integers(data[ends[0] : ends[1]]))
        modes = decode_integers(data[ends[1] : ends[2]], num_streams + 6 * len(shapes))
        lengths, modes = modes[:num_streams], modes[num_streams:]
        axes = [modes[start : start + 6] for start in range(0, len(modes), 6)]
        counts = [count_told(told, shape) for told, shape in zip(axes, shapes, strict=True)]
        rest, count = data[ends[2] :], sum(counts)
        codes = decode(rest, count) if count > _MAX_ADAPTIVE else np.array(decode_integers(rest, count), np.int32)
        parts = np.split(codes, np.cumsum(counts)[:-1])
        if any(length < 0 for length in lengths):
            raise FormatError("a stream of symbols has a negative length")
        scales = [axis_scales(told, part, shape) for told, part, shape in zip(axes, parts, shapes, strict=True)]
        return _Model(scales, tables, lengths, counts, len(rest))
