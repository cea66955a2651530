"""Where the non-zero weights of a sparse tensor lie, as a bitmap or as gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightzip.baselines.packing import pack_bits, packed_block, unpack_bits
from weightzip.baselines.reader import Reader
from weightzip.errors import FormatError

_BITMAP, _GAPS = b"\0", b"\1"
_FILLER = 255  # a gap symbol that skips 255 zeros and ends at no non-zero weight (Han et al. 2015, figure 2)


def position_bytes(mask: NDArray[np.bool_]) -> bytes:
    """A packed block: a byte for the form, then where the 1-D mask is True, in the form that packs smaller."""
    gaps = _gap_symbols(np.flatnonzero(mask))
    return packed_block([_BITMAP + pack_bits(mask.astype(np.uint8), 1), _GAPS + gaps.tobytes()])


def read_positions(reader: Reader, size: int) -> NDArray[np.int64]:
    """Undo `position_bytes` for a mask of `size` elements: the ascending positions of the True elements."""
    block = reader.packed_block(at_most=1 + size)
    form = block.take(1)
    if form == _BITMAP:
        positions = np.flatnonzero(unpack_bits(block.take((size + 7) // 8), size, 1))
    elif form == _GAPS:
        positions = _positions(np.frombuffer(block.rest(), np.uint8), size)
    else:
        raise FormatError(f"section {reader.section}: unknown form of positions {form.hex()}")
    block.finish()
    return positions


def gaps_between(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of zeros before each position, counted from the one before it."""
    return np.diff(positions, prepend=-1) - 1


def positions_after(gaps: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Undo `gaps_between`. Raises FormatError if the positions leave a tensor of `size` elements."""
    # Each gap alone fits the tensor, so that the sum of as many as it has elements cannot overflow.
    if gaps.size and (gaps.min() < 0 or gaps.max() >= size):
        raise FormatError(f"a gap between non-zero weights lies outside the tensor's {size:,} elements")
    positions = np.cumsum(gaps, dtype=np.int64) + np.arange(len(gaps))
    if positions.size and positions[-1] >= size:
        raise FormatError(f"non-zero weights lie outside the tensor's {size:,} elements")
    return positions


def _gap_symbols(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """One byte per gap, after as many fillers as it holds times 255."""
    gaps = gaps_between(positions)
    ends = np.cumsum(gaps // _FILLER + 1)
    symbols = np.full(ends[-1] if len(ends) else 0, _FILLER, np.uint8)
    symbols[ends - 1] = gaps % _FILLER
    return symbols


def _positions(symbols: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    zeros = np.cumsum(symbols, dtype=np.int64)[symbols != _FILLER]
    if symbols.size and symbols[-1] == _FILLER:
        raise FormatError("the positions of a sparse tensor end in a filler")
    return positions_after(np.diff(zeros, prepend=0), size)
