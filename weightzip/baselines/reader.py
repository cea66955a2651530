"""Reading what a baseline wrote, trusting nothing: every length, count and setting is checked before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from weightzip.baselines.floats import PRECISIONS, Weights, from_byte_planes, from_words, itemsize
from weightzip.baselines.packing import unpack, unpack_bits
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec

T = TypeVar("T", int, str)


class Reader:
    """Takes one section's bytes from front to back; raises FormatError where they end early or make no sense."""

    def __init__(self, section: str, data: bytes) -> None:
        self.section = section
        self._data = data
        self._position = 0

    def take(self, num_bytes: int) -> bytes:
        """The next `num_bytes` bytes."""
        left = len(self._data) - self._position
        if num_bytes > left:
            raise FormatError(f"section {self.section}: needs {num_bytes:,} bytes more, but only {left:,} are left")
        self._position += num_bytes
        return self._data[self._position - num_bytes : self._position]

    def rest(self) -> bytes:
        """All the bytes that are left."""
        return self.take(len(self._data) - self._position)

    def integer(self, at_most: int) -> int:
        """A varint between 0 and `at_most`."""
        value, shift = 0, 0
        while True:
            digit = self.take(1)[0]
            value |= (digit & 127) << shift
            shift += 7
            if value > at_most or shift > 63:
                raise FormatError(f"section {self.section}: a count exceeds the {at_most:,} that are possible")
            if digit < 128:
                return value

    def block(self) -> bytes:
        """Bytes written by `block_bytes`: their number, then they."""
        return self.take(self.integer(at_most=len(self._data)))

    def packed_block(self, at_most: int) -> Reader:
        """A reader for what `packed_block` wrote, unpacked to `at_most` bytes."""
        return Reader(self.section, unpack(self.block(), self.section, at_most))

    def floats(self, count: int) -> Weights:
        """`count` finite floats written by `float_bytes`."""
        if count == 0:
            return np.empty(0, np.float32)
        code = self.take(1)[0]
        if code >= len(PRECISIONS):
            raise FormatError(f"section {self.section}: unknown float format {code}")
        size = itemsize(PRECISIONS[code])
        values = from_words(from_byte_planes(self.take(count * size), size), PRECISIONS[code])
        if not np.isfinite(values).all():
            raise FormatError(f"section {self.section}: holds infinite or undefined values")
        return values

    def indices(self, count: int, bits: int) -> NDArray[np.uint8]:
        """`count` indices below 2**bits written by `index_bytes`."""
        block = self.packed_block(at_most=1 + count)
        width = block.take(1)[0]
        if width not in (bits, 8):
            raise FormatError(f"section {self.section}: indices are {width} bits wide, expected {bits} or 8")
        indices = unpack_bits(block.take((count * width + 7) // 8), count, width)
        block.finish()
        if count and int(indices.max()) >> bits:
            raise FormatError(f"section {self.section}: index {indices.max()} does not fit {bits} bits")
        return indices

    def finish(self) -> None:
        """Raise FormatError if bytes are left."""
        left = len(self._data) - self._position
        if left:
            raise FormatError(f"section {self.section}: {left:,} bytes are left over")


@contextlib.contextmanager
def open_sections(payload: Payload, specs: Sequence[TensorSpec], names: Sequence[str]) -> Iterator[list[Reader]]:
    """A reader for each of the sections `names`, which must be all there are and be read to their ends."""
    if set(payload.sections) != set(names):
        raise FormatError(f"expected the sections {', '.join(names)}; found {', '.join(payload.sections) or 'none'}")
    at_most = sum(8 * spec.num_elements + 4096 for spec in specs)  # above what any baseline writes for a tensor
    readers = [Reader(name, unpack(payload.sections[name], name, at_most)) for name in names]
    yield readers
    for reader in readers:
        reader.finish()


def read_setting(payload: Payload, name: str, allowed: Sequence[T]) -> T:
    """The setting `name` from the payload's meta. Raises FormatError unless it is one of `allowed`."""
    value = payload.meta.get(name)
    for option in allowed:
        if option == value and not isinstance(value, bool):  # JSON's true equals 1
            return option
    raise FormatError(f"setting {name} is {value!r:.40}; expected one of {', '.join(map(str, allowed))}")
