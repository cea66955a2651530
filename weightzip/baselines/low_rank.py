"""Low rank: every matrix the product of two thin factors, cut from its singular value decomposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from weightzip.baselines.floats import PRECISIONS, Precision, Weights, float_bytes, to_float32
from weightzip.baselines.packing import pack, varint
from weightzip.baselines.reader import open_sections
from weightzip.baselines.tensors import check_setting, join, split, track
from weightzip.errors import UsageError
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent


@dataclass(frozen=True)
class LowRank:
    """Truncated SVD (Denton et al. 2014; Eckart & Young 1936), the singular values shared evenly by the factors.

    Convolutions are flattened to [out, in * kernel]. A matrix whose factors would not be smaller is kept whole, in the
    same precision.

    rank_fraction: rank over the smaller side of the matrix, 0 < fraction <= 1, rounded, at least rank 1.
    precision: of the factors; float16 is far finer than what truncation leaves out.
    """

    rank_fraction: float = 0.25
    precision: Precision = "float16"
    name: ClassVar[str] = "baseline/low-rank"

    def __post_init__(self) -> None:
        check_setting("precision", self.precision, PRECISIONS)
        if not 0 < self.rank_fraction <= 1:
            raise UsageError(f"rank_fraction is {self.rank_fraction}; choose a number above 0 and up to 1")

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Sections: factors (each matrix's rank and factors; rank 0: the matrix), small (float16)."""
        matrices, small = split(tensors)
        factors = []
        for _, matrix in track(matrices, "low rank", progress):
            rank = max(1, round(self.rank_fraction * min(matrix.shape)))
            if rank * sum(matrix.shape) < matrix.size:
                left, right = _truncated_svd(matrix, rank)
                factors += [varint(rank), float_bytes(left, self.precision), float_bytes(right, self.precision)]
            else:
                factors += [varint(0), float_bytes(matrix, self.precision)]
        return Payload({"factors": pack(b"".join(factors)), "small": pack(small)})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, each the product of its factors. Raises FormatError."""
        with open_sections(payload, specs, ("factors", "small")) as (factors, small):

            def decode_matrix(rows: int, columns: int) -> Weights:
                rank = factors.integer(at_most=min(rows, columns))
                if rank == 0:
                    return factors.floats(rows * columns)
                left = factors.floats(rows * rank).reshape(rows, rank).astype(np.float64)
                right = factors.floats(columns * rank).reshape(columns, rank).astype(np.float64)
                # einsum sums in one thread; a BLAS product may differ in the last bit with the number of threads.
                return to_float32(np.einsum("ir,jr->ij", left, right, optimize=False))

            return join(specs, small, decode_matrix)


def _truncated_svd(matrix: Weights, rank: int) -> tuple[Weights, Weights]:
    """Factors [rows, rank] and [columns, rank] whose product is the nearest matrix of that rank."""
    svd = torch.linalg.svd(torch.from_numpy(matrix).double(), full_matrices=False)
    left, singular_values, right = (factor.numpy() for factor in svd)
    share = np.sqrt(singular_values[:rank])
    return to_float32(left[:, :rank] * share), to_float32(right[:rank].T * share)
