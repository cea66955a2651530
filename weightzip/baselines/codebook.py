"""Codebooks: every weight the nearest of its tensor's 2**bits shared values, found by k-means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightzip.baselines.floats import Weights, as_stored, float_bytes
from weightzip.baselines.packing import index_bytes, pack, varint
from weightzip.baselines.reader import Reader, open_sections, read_setting
from weightzip.baselines.tensors import check_setting, join, split, track
from weightzip.errors import FormatError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent

CODEBOOK_BITS = range(1, 9)
_MAX_ITERATIONS = 1000
_QUANTILES = 1024  # the resolution at which the starting codebook sees the weights' density


@dataclass(frozen=True)
class Codebook:
    """Scalar k-means codebooks, one per tensor, in float16 (Lloyd 1982; weight sharing as in Gong et al. 2014).

    A tensor too small for its codebook to pay is kept in float16.

    bits: bits per weight before zstandard, 1 to 8.
    """

    bits: int = 4
    name: ClassVar[str] = "baseline/codebook"

    def __post_init__(self) -> None:
        check_setting("bits", self.bits, CODEBOOK_BITS)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Sections: indices (b bits each), codebooks (or all values, where shorter), small; floats in float16."""
        matrices, small = split(tensors)
        indices, codebooks = [], []
        for _, matrix in track(matrices, "k-means codebooks", progress):
            values = matrix.ravel()
            codebook = fit_codebook(values, self.bits)
            if 16 * len(codebook) + self.bits * len(values) < 16 * len(values):
                codebooks.append(codebook_bytes(codebook))
                indices.append(index_bytes(nearest(codebook, values), self.bits))
            else:
                codebooks.append(varint(0) + float_bytes(values, "float16"))
        sections = {"indices": pack(b"".join(indices)), "codebooks": pack(b"".join(codebooks)), "small": pack(small)}
        return Payload(sections, {"bits": self.bits})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, each weight looked up in its codebook. Raises FormatError."""
        bits = read_setting(payload, "bits", CODEBOOK_BITS)
        with open_sections(payload, specs, ("indices", "codebooks", "small")) as (indices, codebooks, small):

            def decode_matrix(rows: int, columns: int) -> Weights:
                codebook = read_codebook(codebooks, bits)
                if not codebook.size:
                    return codebooks.floats(rows * columns)
                return look_up(codebook, indices.indices(rows * columns, bits))

            return join(specs, small, decode_matrix)


def fit_codebook(values: Weights, bits: int) -> Weights:
    """The sorted float16 codebook of at most 2**bits entries that Lloyd's algorithm reaches for 1-D `values`.

    Each iteration costs O(K log N): on sorted values the cells are ranges and their means come from cumulative sums.
    """
    ordered = np.sort(values).astype(np.float64)
    distinct = ordered[np.diff(ordered, prepend=-np.inf) > 0]
    if len(distinct) <= 2**bits:
        return as_stored(distinct.astype(np.float32), "float16")
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    codebook = _starting_codebook(ordered, 2**bits)
    previous = np.empty(0)
    for _ in range(_MAX_ITERATIONS):
        edges = np.concatenate([[0], np.searchsorted(ordered, _midpoints(codebook)), [len(ordered)]])  # [K + 1]
        if np.array_equal(edges, previous):
            break
        codebook = _updated(ordered, sums, edges, 2**bits)
        previous = edges
    return as_stored(codebook.astype(np.float32), "float16")


def nearest(codebook: Weights, values: Weights) -> NDArray[np.uint8]:
    """Indices [n] of the entries of the sorted codebook that are nearest to `values` [n]."""
    return np.searchsorted(_midpoints(codebook.astype(np.float64)), values).astype(np.uint8)


def codebook_bytes(codebook: Weights) -> bytes:
    """The number of entries, then the entries in float16."""
    return varint(len(codebook)) + float_bytes(codebook, "float16")


def read_codebook(reader: Reader, bits: int) -> Weights:
    """Undo `codebook_bytes` for a codebook of at most 2**bits entries."""
    return reader.floats(reader.integer(at_most=2**bits))


def look_up(codebook: Weights, indices: NDArray[np.integer]) -> Weights:
    """The entries at `indices`. Raises FormatError if one is out of range."""
    if indices.size and not 0 <= indices.min() <= indices.max() < len(codebook):
        raise FormatError(f"a codebook of {len(codebook)} entries is asked for entry {indices.max()}")
    values: Weights = codebook[indices]
    return values


def _starting_codebook(ordered: NDArray[np.float64], num_entries: int) -> NDArray[np.float64]:
    """Entries spread like the cube root of the density, optimal for many entries (Panter & Dite 1951).

    On mnist-fnn's first layer Lloyd's algorithm ends at a quarter of the error at 8 bits that a linear start leads to.
    """
    quantiles = np.quantile(ordered, np.linspace(0, 1, _QUANTILES + 1))
    entries_so_far = np.concatenate([[0.0], np.cumsum(np.diff(quantiles) ** (2 / 3))])
    starts: NDArray[np.float64] = np.interp(
        (np.arange(num_entries) + 0.5) / num_entries * entries_so_far[-1], entries_so_far, quantiles
    )
    return starts


def _updated(
    ordered: NDArray[np.float64], sums: NDArray[np.float64], edges: NDArray[np.int64], num_entries: int
) -> NDArray[np.float64]:
    """Lloyd's update: the mean of each cell; entries that empty cells leave over split the worst of the others.

    sums: [N + 1] cumulative sums of the sorted values `ordered` [N]; edges: [K + 1] where the cells begin and end.
    """
    filled = np.flatnonzero(np.diff(edges))
    first, last = edges[filled], edges[filled + 1]
    lowest, highest = ordered[first], ordered[last - 1]
    # An outlier costs the cumulative sums digits; a mean lies within its cell all the same.
    means = np.clip((sums[last] - sums[first]) / (last - first), lowest, highest)
    errors = (last - first) * (highest - lowest) ** 2  # of cells with flat density, up to a factor
    worst = np.argsort(-errors, kind="stable")[: num_entries - len(filled)]
    return np.sort(np.concatenate([means, (means[worst] + highest[worst]) / 2]))


def _midpoints(codebook: NDArray[np.float64]) -> NDArray[np.float64]:
    middles: NDArray[np.float64] = (codebook[1:] + codebook[:-1]) / 2
    return middles
