"""Elements of a dtype <-> planes of their bits, from the most significant on: what is alike in all elements stands together.

The sign of a floating-point number is moved behind its mantissa (as in ZipNN, Hershcovitch et al. 2024), so that its first
plane is the exponent, and with it the mantissa's first two bits, which are not quite uniform, given the exponent: that is worth
1% of a bfloat16 tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightzip.checkpoint import dtype_of
from weightzip.kernels import kernel

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Elements = NDArray[np.unsignedinteger]

_FLOATS = {2: (8, 8), 4: (10, 6, 8, 8), 8: (12, 4, *(8,) * 6)}  # by width; float16 has 5 bits of exponent, the others 8 and 11
_BFLOAT16 = (10, 6)


@dataclass(frozen=True)
class Layout:
    """How elements are cut: their width in bytes, bits of each plane, and whether the sign goes behind."""

    width: int
    bits: tuple[int, ...]
    is_float: bool

    @property
    def unsigned(self) -> np.dtype[np.unsignedinteger]:
        """The numpy dtype of elements as they are cut."""
        return np.dtype(f"u{self.width}")


def layout_of(dtype: str) -> Layout:
    """The layout for a dtype; a complex number is two elements. Raises FormatError for an unknown name."""
    known = dtype_of(dtype)
    width = known.itemsize // 2 if known.is_complex else known.itemsize
    if width == 1 or not (known.is_complex or known.is_floating_point):
        return Layout(width, (8,) * width, is_float=False)
    return Layout(width, _BFLOAT16 if dtype == "bfloat16" else _FLOATS[width], is_float=True)


def cut(elements: Elements, layout: Layout) -> list[Plane]:
    """Planes [n] of elements [n], which are writable and aligned; uint8 up to 8 bits, else uint16."""
    if layout.width == 1:
        return [elements.astype(np.uint8)]
    planes: list[Plane] = [np.empty(elements.size, plane_dtype(bits)) for bits in layout.bits]
    for k, shift in _pairs(layout):
        _take_two(elements, shift, layout.bits[k], layout.bits[k + 1], layout.is_float, planes[k], planes[k + 1])
    return planes


def join(planes: list[Plane], layout: Layout, elements: Elements) -> None:
    """Fill elements [n] from what `cut` made of them."""
    if layout.width == 1:
        elements[:] = planes[0]
        return
    for k, shift in _pairs(layout):
        is_last = k + 2 == len(planes)
        _put_two(planes[k], planes[k + 1], shift, layout.bits[k + 1], k == 0, layout.is_float and is_last, elements)


def _pairs(layout: Layout) -> list[tuple[int, int]]:
    """For each two planes the number of the first, and the place of the second's lowest bit: two at a time halve the passes."""
    return [(k, 8 * layout.width - sum(layout.bits[: k + 2])) for k in range(0, len(layout.bits), 2)]


def plane_dtype(bits: int) -> np.dtype[np.unsignedinteger]:
    """What values of so many bits are held in."""
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


@kernel
def _take_two(elements, shift, high_bits, low_bits, rotate, high, low):  # type: ignore[no-untyped-def]
    """Fill two planes [n] that lie side by side, the lower one `shift` bits from the bottom."""
    top = np.uint64(elements.itemsize * 8 - 1)
    for i in range(elements.size):
        element = np.uint64(elements[i])
        if rotate:
            element = element << np.uint64(1) | element >> top
        element >>= np.uint64(shift)
        low[i] = element & np.uint64((1 << low_bits) - 1)
        high[i] = element >> np.uint64(low_bits) & np.uint64((1 << high_bits) - 1)


@kernel
def _put_two(high, low, shift, low_bits, is_first, rotate, elements):  # type: ignore[no-untyped-def]
    """Put them back, and the sign as well, once all planes are there (rotate)."""
    top = np.uint64(elements.itemsize * 8 - 1)
    for i in range(elements.size):
        element = (np.uint64(high[i]) << np.uint64(low_bits) | np.uint64(low[i])) << np.uint64(shift)
        if not is_first:
            element |= np.uint64(elements[i])
        if rotate:
            element = element >> np.uint64(1) | (element & np.uint64(1)) << top
        elements[i] = element
