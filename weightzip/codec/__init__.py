"""The codec room: presets, and how the rooms are put together, both ways. Never knows the command line.

pipeline    checkpoint -> header + sections -> bytes, and back, with any codec
auto        the default codec: `steps` chooses its step sizes, `transform_choice` its `transforms`
paper       the VAE codec of Cheng et al. 2024; `paper_quantise` makes integers of the trained network
symbols     arrays of latents <-> bytes, for both
lossless    exact storage of everything else
targets     the setting of `auto` for a size or an error; `quality` that for a model that still does its task
memory      what decoding takes, and whether that is allowed
auto_v1, paper_v1    reading what the first versions wrote, with `matrices`
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
