"""The baselines: what people use today, behind the codec's own interface and really serialised.

Knows pruning, quantisation, codebooks, low rank, casts and zstandard, and how each is stored compactly.
Never knows the codec, checkpoints or files: the caller writes the sections, and the file's size is what counts.

    tensors --split--> matrices --method--> records per tensor --join, zstandard--> sections
                       small ones in float16 ------------------------^

Every section is one stream of records, a record per tensor, in the order of the tensors (`packing`); `reader` takes it
apart and checks every length, count and index on the way.
"""

from weightzip.baselines.cast import Cast
from weightzip.baselines.codebook import Codebook
from weightzip.baselines.deep_compression import DeepCompression
from weightzip.baselines.low_rank import LowRank
from weightzip.baselines.prune import MagnitudePruning
from weightzip.baselines.sweep import sweep
from weightzip.baselines.uniform import UniformQuantisation
from weightzip.baselines.zstd import Zstd
from weightzip.interface import Codec

CODECS: dict[str, type[Codec]] = {
    codec.name: codec for codec in (Cast, Codebook, DeepCompression, LowRank, MagnitudePruning, UniformQuantisation, Zstd)
}
"""By the name that a file carries: the class whose `decode` reads it."""

__all__ = [
    "CODECS",
    "Cast",
    "Codebook",
    "DeepCompression",
    "LowRank",
    "MagnitudePruning",
    "UniformQuantisation",
    "Zstd",
    "sweep",
]
