"""The codec room: presets, and how the rooms are put together, both ways. Never knows the command line.

pipeline   checkpoint -> header + sections -> bytes, and back, with any codec
auto       the default codec; `targets` chooses its setting
paper      the VAE codec of Cheng et al. 2024
lossless   exact storage of everything else
memory     what decoding takes, and whether that is allowed
"""

from weightzip.codec.auto import AutoCodec
from weightzip.codec.header import Header
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.memory import check_memory
from weightzip.codec.paper import PaperCodec
from weightzip.codec.pipeline import Coded, Decoded, decode, decode_container, encode, read_header
from weightzip.codec.targets import Target, encode_to_target

__all__ = [
    "AutoCodec",
    "Coded",
    "Decoded",
    "Header",
    "LosslessCodec",
    "PaperCodec",
    "Target",
    "check_memory",
    "decode",
    "decode_container",
    "encode",
    "encode_to_target",
    "read_header",
]
