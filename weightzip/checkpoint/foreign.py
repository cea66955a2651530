"""Files that are not checkpoints, told apart by their first bytes, so that the refusal can say what to do."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path
from pickle import UnpicklingError

from weightzip.checkpoint.pickles import LEGACY, ZIP_MAGIC, is_plain_pickle, scan
from weightzip.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
    is_out_of_memory,
)

_TORCH_MAGIC = (ZIP_MAGIC, b"\x80\x02")  # an archive; a pickle, in the format before it
_HEAD_BYTES = 512  # what is to be seen of a file

# (offset, first bytes, what it is, what to do)
_MAGIC = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 (Keras) file", "save the weights as .safetensors"),
    (0, b"GGUF", "a GGUF file", "use the checkpoint that it was made from"),
    (4, b"TFL3", "a TensorFlow Lite model", "use the checkpoint that it was made from"),
    (0, b"\x93NUMPY", "a NumPy array", "save it as .safetensors with safetensors.numpy.save_file"),
    (0, b"\x1f\x8b\x08", "a gzip file", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it, and name the checkpoint in it"),
)
# An ONNX file is a protobuf message without a magic number: a small version, then one of the model's next fields.
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]")
_LFS_POINTER = b"version https://git-lfs.github.com/spec"
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)\b", re.IGNORECASE)
_NESTED = re.compile(r"torch\._utils\._rebuild_nested_tensor|torch\.nested\..*")  # which the safe loader refuses as code
_RESAVE = "load it where you trust it and save only its state dict, with torch.save or as .safetensors"


def check_name(path: Path) -> None:
    """Raise CheckpointError for a path that no text can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{path}: a name that is not valid Unicode cannot be stored; rename the file") from None


def read_head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size in bytes.

    Raises CheckpointError where it cannot be read or is no file, DamagedCheckpointError where it is empty.
    """
    check_name(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a device may never end, and a pipe never begin
            raise CheckpointError(f"{path}: is no file; name a checkpoint")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the name") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise DamagedCheckpointError(f"{path}: is empty; copy or download it again")
    return head, status.st_size


def refuse_foreign(path: Path, head: bytes) -> None:
    """Raise CheckpointError, by kind UnsupportedCheckpointError, if a file that begins with `head` is of a known other kind."""
    if head.startswith(_LFS_POINTER):
        raise CheckpointError(f"{path}: a Git LFS pointer, not the file itself; run git lfs pull")
    if _HTML.match(head):
        raise CheckpointError(f"{path}: an HTML page (an error or log-in page, perhaps), not a checkpoint; download it again")
    for offset, magic, kind, hint in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise UnsupportedCheckpointError(f"{path}: {kind}, not a checkpoint; {hint}")
    if path.suffix.lower() == ".onnx" or _ONNX.match(head):
        raise UnsupportedCheckpointError(
            f"{path}: an ONNX model, not a checkpoint; use the state dict that it was exported from"
        )


def check_archive(path: Path) -> bool:
    """Look into a zip file that should be torch's; True if its records are stored as they are, so that mapping works.

    Raises UnsupportedCheckpointError for TorchScript and exported programs, DamagedCheckpointError for what
    is no whole zip file, CheckpointError for any other archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, error) from error
    records = {entry.filename.rpartition("/")[2] for entry in entries}
    if "constants.pkl" in records:
        raise UnsupportedCheckpointError(
            f"{path}: a TorchScript archive; save torch.jit.load(...).state_dict() with torch.save and use that"
        )
    if "archive_format" in records:
        raise UnsupportedCheckpointError(
            f"{path}: an exported program (torch.export); save torch.export.load(...).state_dict with torch.save"
        )
    if "data.pkl" not in records:
        raise CheckpointError(f"{path}: a zip archive, but not one that torch.save wrote; name a checkpoint")
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def unreadable(path: Path, head: bytes, error: Exception) -> CheckpointError:
    """What to raise where torch's safe loader has failed with `error` on a file that begins with `head`."""
    refusal = _refusal(path, head, error) if isinstance(error, UnpicklingError) else None
    if refusal is not None:
        return refusal
    if is_plain_pickle(path, head):
        return CheckpointError(
            f"{path}: a plain pickle, which torch.save did not write; "
            "load it where you trust it and save its tensors with torch.save or as .safetensors"
        )
    known = head.startswith(_TORCH_MAGIC) or LEGACY.match(head)
    return failed(path, error) if known else no_checkpoint(path)


def no_checkpoint(path: Path) -> CheckpointError:
    """What to raise for a file of no known kind."""
    return CheckpointError(f"{path}: not a checkpoint: written neither by torch.save nor as .safetensors; name another file")


def failed(path: Path, error: Exception) -> CheckpointError:
    """What to raise where a library has failed with `error` on a file of its kind: it is damaged, or there is no room."""
    if not is_out_of_memory(error) and not re.search("unable to mmap|cannot allocate memory", str(error), re.IGNORECASE):
        return damaged(path, error)
    return CheckpointError(
        f"{path}: cannot be mapped into memory ({_reason(error)}); "
        "save it as .safetensors in several shards, or use a machine with more memory"
    )


def damaged(path: Path, error: Exception) -> DamagedCheckpointError:
    """What to raise where a file is no longer what its beginning or its name says."""
    return DamagedCheckpointError(f"{path}: truncated or damaged ({_reason(error)}); copy or download it again")


def _reason(error: Exception) -> str:
    """An error in one short line."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return reason if len(reason) <= 120 else f"{reason[:120]}..."


def _refusal(path: Path, head: bytes, error: UnpicklingError) -> CheckpointError | None:
    """What to raise where the safe loader has refused a pickle; None where that is a plain one, a damaged one, or none."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return _unsafe(path, named[1].rstrip("."))
    if "Unsupported operand" not in str(error):
        return None
    # The safe loader gives up on newer pickle protocols before it sees what they ask for.
    try:
        protocol, code = scan(path)
    except Exception:  # whatever pickletools makes of bytes that are no pickle
        return None
    if code:
        return _unsafe(path, code[0])
    if protocol < 4 or is_plain_pickle(path, head):
        return None
    return UnsupportedCheckpointError(
        f"{path}: written with pickle protocol {protocol}, which torch's safe loader cannot read; "
        "torch.load it where you trust it and torch.save it again with the default protocol"
    )


def _unsafe(path: Path, wanted: str) -> CheckpointError:
    if _NESTED.fullmatch(wanted):
        return UnsupportedCheckpointError(f"{path}: holds a nested tensor; .unbind() it and save its parts as plain tensors")
    return UnsafeCheckpointError(f"{path}: reading it would run code: it asks for {wanted}; {_RESAVE}")
