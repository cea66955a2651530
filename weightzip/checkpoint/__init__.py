"""Checkpoints: any file or object in, the same one out.

    file --read--> Checkpoint(tensors, weights, layout) --write--> file
    object --from_object--> Checkpoint --rebuild--> object

Knows file formats, dtypes, aliases, prefixes and the trees around tensors. Never knows codecs, nor what happens to the
tensors in between; the layout goes through JSON, and nothing that is read is ever executed.
"""

from weightzip.checkpoint.build import Checkpoint, from_object, rebuild, state_dict
from weightzip.checkpoint.dtypes import dtype_name, dtype_of
from weightzip.checkpoint.layout import Format, Layout, default_output, default_tensor_output
from weightzip.checkpoint.places import MAX_RANK, MAX_TENSORS, has_possible_size
from weightzip.checkpoint.read import read
from weightzip.checkpoint.write import fits_safetensors, output_format, write, written_bytes

__all__ = [
    "MAX_RANK",
    "MAX_TENSORS",
    "Checkpoint",
    "Format",
    "Layout",
    "default_output",
    "default_tensor_output",
    "dtype_name",
    "dtype_of",
    "fits_safetensors",
    "from_object",
    "has_possible_size",
    "output_format",
    "read",
    "rebuild",
    "state_dict",
    "write",
    "written_bytes",
]
