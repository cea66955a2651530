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
    planes: list[Plane] = []
    shift = 8 * layout.width
    for bits in layout.bits:
        shift -= bits
        plane = np.empty(elements.size, plane_dtype(bits))
        _take(elements, shift, (1 << bits) - 1, layout.is_float, plane)
        planes.append(plane)
    return planes


def join(planes: list[Plane], layout: Layout, elements: Elements) -> None:
    """Fill elements [n] from what `cut` made of them."""
    shift = 8 * layout.width
    for k, (plane, bits) in enumerate(zip(planes, layout.bits, strict=True)):
        shift -= bits
        _put(plane, shift, k == 0, layout.is_float and k == len(planes) - 1, elements)


def plane_dtype(bits: int) -> np.dtype[np.unsignedinteger]:
    """What values of so many bits are held in."""
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


@kernel
def _take(elements, shift, mask, rotate, plane):  # type: ignore[no-untyped-def]
    width = elements.itemsize * 8
    if rotate:
        for i in range(elements.size):
            element = np.uint64(elements[i])
            rotated = element << np.uint64(1) | element >> np.uint64(width - 1)
            plane[i] = rotated >> np.uint64(shift) & np.uint64(mask)
    else:
        for i in range(elements.size):
            plane[i] = np.uint64(elements[i]) >> np.uint64(shift) & np.uint64(mask)


@kernel
def _put(plane, shift, is_first, rotate, elements):  # type: ignore[no-untyped-def]
    if is_first:
        for i in range(elements.size):
            elements[i] = np.uint64(plane[i]) << np.uint64(shift)
    else:
        for i in range(elements.size):
            elements[i] |= np.uint64(plane[i]) << np.uint64(shift)
    if rotate:
        last = np.uint64(elements.itemsize * 8 - 1)
        for i in range(elements.size):
            element = np.uint64(elements[i])
            elements[i] = element >> np.uint64(1) | (element & np.uint64(1)) << last
