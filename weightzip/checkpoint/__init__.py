"""Checkpoints: any file or object in, the same one out.

    file or folder of shards --read--> Checkpoint(tensors, weights, layout) --write--> file or folder of shards
    object --from_object--> Checkpoint --rebuild--> object

Knows file formats, dtypes, aliases, prefixes and the trees around tensors. Never knows codecs, nor what happens to the
tensors in between; the layout goes through JSON, and nothing that is read is ever executed.
"""

from weightzip.checkpoint.aliases import View, apply_view
from weightzip.checkpoint.build import (
    Checkpoint,
    Location,
    from_object,
    locate,
    module_state,
    rebuild,
    state_dict,
    with_prefix_of,
)
from weightzip.checkpoint.dtypes import dtype_name, dtype_of
from weightzip.checkpoint.folder import main_file, single_file
from weightzip.checkpoint.layout import Format, Layout, default_output, default_tensor_output
from weightzip.checkpoint.mapped import release
from weightzip.checkpoint.origin import Origin
from weightzip.checkpoint.places import MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS, has_possible_size
from weightzip.checkpoint.read import read
from weightzip.checkpoint.read_safetensors import shard_names
from weightzip.checkpoint.shards import INDEX_SUFFIX, is_shard_file
from weightzip.checkpoint.specs import num_bytes, specs_of
from weightzip.checkpoint.tree import json_depth
from weightzip.checkpoint.write import Writer, fits_safetensors, open_writer, output_format, write, written_bytes

__all__ = [
    "INDEX_SUFFIX",
    "MAX_NAME_BYTES",
    "MAX_RANK",
    "MAX_TENSORS",
    "Checkpoint",
    "Format",
    "Layout",
    "Location",
    "Origin",
    "View",
    "Writer",
    "apply_view",
    "default_output",
    "default_tensor_output",
    "dtype_name",
    "dtype_of",
    "fits_safetensors",
    "from_object",
    "has_possible_size",
    "is_shard_file",
    "json_depth",
    "locate",
    "main_file",
    "module_state",
    "num_bytes",
    "open_writer",
    "output_format",
    "read",
    "rebuild",
    "release",
    "shard_names",
    "single_file",
    "specs_of",
    "state_dict",
    "with_prefix_of",
    "write",
    "written_bytes",
]
