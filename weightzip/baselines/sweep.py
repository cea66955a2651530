"""The settings at which the baselines are compared: from barely lossy to clearly too much."""

from __future__ import annotations

from weightzip.baselines.cast import Cast
from weightzip.baselines.codebook import Codebook
from weightzip.baselines.deep_compression import DeepCompression
from weightzip.baselines.low_rank import LowRank
from weightzip.baselines.prune import MagnitudePruning
from weightzip.baselines.uniform import UniformQuantisation
from weightzip.baselines.zstd import Zstd
from weightzip.interface import Codec

_SPARSITIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_UNIFORM_BITS = (8, 6, 5, 4, 3, 2)
_CODEBOOK_BITS = (8, 6, 5, 4, 3, 2, 1)
_RANK_FRACTIONS = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
_DEEP_COMPRESSION = ((0.3, 5), (0.5, 4), (0.5, 3), (0.6, 3), (0.6, 2), (0.7, 3), (0.8, 3), (0.9, 3))  # sparsity, bits


def sweep() -> list[tuple[str, str, Codec]]:
    """Every baseline at every setting, as (method, setting, codec), for curves of accuracy against ratio."""
    points: list[tuple[str, str, Codec]] = [
        ("zstd", "level 3", Zstd(3)),
        ("zstd", "level 19", Zstd(19)),
        ("zstd", "level 22", Zstd(22)),
        ("zstd", "level 19, byte planes", Zstd(19, "planes")),
        ("cast", "float16", Cast("float16")),
        ("cast", "bfloat16", Cast("bfloat16")),
    ]
    points += [("magnitude pruning (global)", f"sparsity {s:g}", MagnitudePruning(s, "global")) for s in _SPARSITIES]
    points += [("magnitude pruning (per layer)", f"sparsity {s:g}", MagnitudePruning(s, "layer")) for s in _SPARSITIES]
    points += [("uniform (per tensor)", f"{b} bit", UniformQuantisation(b, "tensor")) for b in _UNIFORM_BITS]
    points += [("uniform (per channel)", f"{b} bit", UniformQuantisation(b, "channel")) for b in _UNIFORM_BITS]
    points += [("k-means codebook", f"{b} bit", Codebook(b)) for b in _CODEBOOK_BITS]
    points += [("Deep Compression", f"sparsity {s:g}, {b} bit", DeepCompression(s, b)) for s, b in _DEEP_COMPRESSION]
    points += [("low-rank SVD", f"rank fraction {r:g}", LowRank(r)) for r in _RANK_FRACTIONS]
    return points
