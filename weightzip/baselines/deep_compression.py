"""Deep Compression's pipeline: prune, share the survivors' values, entropy-code positions and indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from weightzip.baselines.codebook import (
    CODEBOOK_BITS,
    codebook_bytes,
    fit_codebook,
    look_up,
    nearest,
    read_codebook,
)
from weightzip.baselines.floats import Weights
from weightzip.baselines.packing import block_bytes, pack, varint
from weightzip.baselines.prune import Scope, check_pruning, scatter, survivors
from weightzip.baselines.reader import open_sections, read_setting
from weightzip.baselines.sparse import gaps_between, positions_after
from weightzip.baselines.tensors import check_setting, join, split, track
from weightzip.entropy import decode, encode
from weightzip.interface import Payload, TensorSpec
from weightzip.progress import Progress, silent


@dataclass(frozen=True)
class DeepCompression:
    """Han, Mao & Dally 2015, "Deep Compression", without retraining.

    As there, except that ANS replaces Huffman codes (never longer), which also makes filler zeros needless, and that
    the codebooks start from a better place than the linear one; both in the baseline's favour.

    sparsity, scope: as for MagnitudePruning.
    bits: the codebooks have at most 2**bits float16 entries, 1 to 8.
    """

    sparsity: float = 0.8
    bits: int = 4
    scope: Scope = "global"
    name: ClassVar[str] = "baseline/deep-compression"

    def __post_init__(self) -> None:
        check_pruning(self.sparsity, self.scope)
        check_setting("bits", self.bits, CODEBOOK_BITS)

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """Sections: gaps and indices (entropy-coded, a table per tensor), codebooks (float16), small (float16)."""
        matrices, small = split(tensors)
        masks = survivors(matrices, self.sparsity, self.scope)
        gaps, indices, codebooks = [], [], []
        for name, matrix in track(matrices, "Deep Compression", progress):
            positions = np.flatnonzero(masks[name])
            values = matrix.ravel()[positions]
            codebook = fit_codebook(values, self.bits)
            codebooks.append(codebook_bytes(codebook))
            gaps.append(varint(len(positions)) + block_bytes(encode(gaps_between(positions).astype(np.int32))))
            indices.append(block_bytes(encode(nearest(codebook, values).astype(np.int32))))
        sections = {
            "gaps": pack(b"".join(gaps)),
            "indices": pack(b"".join(indices)),
            "codebooks": pack(b"".join(codebooks)),
            "small": pack(small),
        }
        return Payload(sections, {"bits": self.bits})

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """The tensors, zero but for the survivors, which are looked up in their codebooks. Raises FormatError."""
        bits = read_setting(payload, "bits", CODEBOOK_BITS)
        names = ("gaps", "indices", "codebooks", "small")
        with open_sections(payload, specs, names) as (gaps, indices, codebooks, small):

            def decode_matrix(rows: int, columns: int) -> Weights:
                size = rows * columns
                num_kept = gaps.integer(at_most=size)
                positions = positions_after(decode(gaps.block(), num_kept), size)
                codebook = read_codebook(codebooks, bits)
                return scatter(positions, look_up(codebook, decode(indices.block(), num_kept)), size)

            return join(specs, small, decode_matrix)
