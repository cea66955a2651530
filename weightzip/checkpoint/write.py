"""Writing checkpoint files."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from weightzip.checkpoint.build import rebuild, state_dict
from weightzip.checkpoint.layout import Format, Layout
from weightzip.checkpoint.quiet import no_warnings
from weightzip.errors import CheckpointError, UnsupportedCheckpointError

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
}

_METADATA = "__metadata__"  # the one entry of a safetensors header that is no tensor


def output_format(path: Path, layout: Layout) -> Format:
    """The format that a file name asks for; the source's where its suffix says nothing."""
    if path.name == layout.source_name:
        return layout.format
    return _SUFFIXES.get(path.suffix.lower(), layout.format)


def fits_safetensors(layout: Layout) -> bool:
    """Whether a .safetensors file holds all of a checkpoint's values, or only those of its model."""
    if layout.tree is None:
        return True
    tag, _, *options = layout.tree if isinstance(layout.tree, list) and len(layout.tree) > 1 else (None, None)
    return tag == "state" and all(len(entry) == 2 for entry in (options[0] if options else {}).get("odd", []))


def written_bytes(layout: Layout, tensors: Mapping[str, Tensor], fmt: Format) -> int:
    """Bytes of all values that `write` would write. Tensors that share memory are written each by itself to safetensors.

    Raises FormatError where tensors and layout do not fit.
    """
    written = tensors if fmt == "torch" else state_dict(layout, tensors)
    return sum(tensor.nbytes for tensor in written.values())


@no_warnings()
def write(layout: Layout, tensors: Mapping[str, Tensor], path: Path, fmt: Format) -> None:
    """Write the checkpoint to `path` in format `fmt`: the whole tree for torch, the model's state dict for safetensors.

    tensors: as for `rebuild`. The same input gives the same file, whatever `path` is called.
    Raises OSError where the system refuses to write, CheckpointError where there is no state dict to write,
    UnsupportedCheckpointError where safetensors has no such dtype, FormatError where tensors and layout do not fit.
    """
    if fmt == "torch":
        _write_torch(rebuild(layout, tensors), path)
    else:
        _write_safetensors(layout, state_dict(layout, tensors), path)


def _write_torch(root: object, path: Path) -> None:
    try:
        with path.open("wb") as file:  # given a path, torch.save would write its name into the file
            torch.save(root, file)
    except RuntimeError as error:
        # A write that failed breaks the archive, and torch reports only that.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise OSError(errno.EIO, f"torch.save failed: {error}") from error


def _write_safetensors(layout: Layout, state: dict[str, Tensor], path: Path) -> None:
    if not state:
        raise CheckpointError("it holds no state dict of a model; write it to a .pt file instead")
    metadata = {"format": "pt"} if layout.format == "torch" else layout.metadata  # readers ask where it comes from
    try:
        save_file(_separate(state), path, metadata=dict(metadata) if metadata is not None else None)
        _put_in_order(path, list(state))
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number) if code else str(error)) from error
    except KeyError as error:
        raise UnsupportedCheckpointError(f"safetensors cannot hold {error.args[0]}; write a .pt file instead") from error


def _put_in_order(path: Path, keys: list[str]) -> None:
    """Rewrite a safetensors file with its tensors in the order of `keys`; the library sorts them by dtype and name.

    The format (a length, a JSON header, the data) is left to the library: only the order of the entries changes.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    if [key for key in header if key != _METADATA] == keys:
        return
    ordered = {_METADATA: header[_METADATA]} if _METADATA in header else {}
    spans, end = [], 0
    for key in keys:
        first, last = header[key]["data_offsets"]
        spans.append((start + first, start + last))
        ordered[key] = {**header[key], "data_offsets": [end, end + last - first]}
        end += last - first
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for first, last in spans:
            file.write(memoryview(data)[first:last])


def _separate(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors that share nothing: safetensors has no aliases. Only what does share is copied."""
    taken: set[int] = set()
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes and memory not in taken
        taken.add(memory)
        result[key] = tensor.detach() if alone else tensor.detach().clone().contiguous()
    return result
