"""The codec room: presets, and how the rooms are put together, both ways. Never knows the command line.

encoding    checkpoint -> parts -> sections and header, with any codec; `decoding` the way back, whole or in part
auto        the default codec: `steps` chooses its step sizes, `transform_choice` its `transforms`
paper       the VAE codec of Cheng et al. 2024; `paper_quantise` makes integers of the trained network
family      the codec of all VAE families, with `residuals`; `family_fit` encodes, `family_decode` decodes
symbols     arrays of latents <-> bytes, for both
lossless    exact storage of everything else: `element_blocks` of `element_planes`, coded by `plane_coding`
header      which tensors a file holds, in which parts, and how each was coded
structured  which weights are better stored exactly
trained     the format of `auto` for symbols found by training (`weightzip.adapt`)
targets     the setting of `auto` for a size or an error; `quality` that for a model that still does its task
sampling    weights drawn from the cells that a file leaves open
shares      how many bytes of a file belong to each tensor
memory      what decoding takes, and whether that is allowed
auto_v1, lossless_v1, paper_v1    reading what the first versions wrote, with `matrices`
"""

from weightzip.codec.auto import AutoCodec
from weightzip.codec.decoding import Decoded, decode, decode_container, decode_parts, naming, part_sizes, read_header
from weightzip.codec.encoding import Coded, Encoding, encode
from weightzip.codec.family import FamilyCodec
from weightzip.codec.header import Header, section_kind
from weightzip.codec.lossless import LosslessCodec
from weightzip.codec.memory import check_kept, check_one, check_parts, check_written
from weightzip.codec.paper import PaperCodec
from weightzip.codec.quality import meet_drop
from weightzip.codec.shares import tensor_bytes
from weightzip.codec.structured import keep_structured
from weightzip.codec.targets import Plan, Target, plan_for
from weightzip.codec.trained import TrainedCodec

__all__ = [
    "AutoCodec",
    "Coded",
    "Decoded",
    "Encoding",
    "FamilyCodec",
    "Header",
    "LosslessCodec",
    "PaperCodec",
    "Plan",
    "Target",
    "TrainedCodec",
    "check_kept",
    "check_one",
    "check_parts",
    "check_written",
    "decode",
    "decode_container",
    "decode_parts",
    "encode",
    "keep_structured",
    "meet_drop",
    "naming",
    "part_sizes",
    "plan_for",
    "read_header",
    "section_kind",
    "tensor_bytes",
]
