"""Files that are not checkpoints, told apart by their first bytes, so that the refusal can say what to do."""

from __future__ import annotations

import contextlib
import io
import pickletools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

from weightzip.errors import CheckpointError, DamagedCheckpointError, UnsafeCheckpointError, UnsupportedCheckpointError

ZIP_MAGIC = b"PK\x03\x04"
TORCH_MAGIC = (ZIP_MAGIC, b"\x80\x02")  # an archive; a pickle, in the format before it
_HEAD_BYTES = 64  # what is to be seen of a file
_MAX_PICKLE_BYTES = 1 << 28

# (offset, first bytes, what it is, what to do)
_MAGIC = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 (Keras) file", "save the weights as .safetensors"),
    (0, b"GGUF", "a GGUF file", "use the checkpoint that it was made from"),
    (4, b"TFL3", "a TensorFlow Lite model", "use the checkpoint that it was made from"),
    (0, b"\x93NUMPY", "a NumPy array", "save it as .safetensors with safetensors.numpy.save_file"),
)
# An ONNX file is a protobuf message without a magic number: a small version, then one of the model's next fields.
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x3a\x42]")
_NESTED = re.compile(r"torch\._utils\._rebuild_nested_tensor|torch\.nested\..*")  # which the safe loader refuses as code
_RESAVE = "load it where you trust it and save only its state dict, with torch.save or as .safetensors"
# What torch's safe loader knows; other globals are code to it.
_DATA = re.compile(
    r"torch\.(\w+|_utils\._rebuild_\w+|storage\.\w+|_tensor\._rebuild_\w+|nn\.parameter\.Parameter|serialization\._get_layout)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|bytearray|complex)"
)


def check_name(path: Path) -> None:
    """Raise CheckpointError for a path that no text can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{path}: a name that is not valid Unicode cannot be stored; rename the file") from None


def read_head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size in bytes.

    Raises CheckpointError where it cannot be read, DamagedCheckpointError where it is empty.
    """
    check_name(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; check the name") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise DamagedCheckpointError(f"{path}: is empty; copy or download it again")
    return head, size


def refuse_foreign(path: Path, head: bytes) -> None:
    """Raise UnsupportedCheckpointError if a file that begins with `head` is of a known other kind."""
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
    refusal = _refusal(path, error) if isinstance(error, UnpicklingError) else None
    if refusal is not None:
        return refusal
    if head.startswith(TORCH_MAGIC):
        return damaged(path, error)
    return CheckpointError(f"{path}: not a checkpoint: written neither by torch.save nor as .safetensors; name another file")


def damaged(path: Path, error: Exception) -> DamagedCheckpointError:
    """What to raise where a file is no longer what its beginning or its name says."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    reason = reason if len(reason) <= 120 else f"{reason[:120]}..."
    return DamagedCheckpointError(f"{path}: truncated or damaged ({reason}); copy or download it again")


def _refusal(path: Path, error: UnpicklingError) -> CheckpointError | None:
    """What to raise where the safe loader has refused a pickle; None where that is no pickle, or a damaged one."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return _unsafe(path, named[1].rstrip("."))
    if "Unsupported operand" not in str(error):
        return None
    # The safe loader gives up on newer pickle protocols before it sees what they ask for.
    try:
        protocol, wanted = _scan(_pickle_of(path))
    except Exception:  # whatever pickletools makes of bytes that are no pickle
        return None
    code = [name for name in wanted if not _DATA.fullmatch(name)]
    if code:
        return _unsafe(path, code[0])
    if protocol < 4:
        return None
    return UnsupportedCheckpointError(
        f"{path}: written with pickle protocol {protocol}, which torch's safe loader cannot read; "
        "torch.load it where you trust it and torch.save it again with the default protocol"
    )


def _unsafe(path: Path, wanted: str) -> CheckpointError:
    if _NESTED.fullmatch(wanted):
        return UnsupportedCheckpointError(f"{path}: holds a nested tensor; .unbind() it and save its parts as plain tensors")
    return UnsafeCheckpointError(f"{path}: reading it would run code: it asks for {wanted}; {_RESAVE}")


def _pickle_of(path: Path) -> bytes:
    """The pickle in a torch archive, or the beginning of a plain pickle."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MAX_PICKLE_BYTES)
    with zipfile.ZipFile(path) as archive:
        record = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(record) as file:
            return file.read(_MAX_PICKLE_BYTES)


def _scan(data: bytes) -> tuple[int, list[str]]:
    """The protocol of a pickle and the globals that it asks for, read without executing anything.

    An old torch file is several pickles, the fourth of which is the checkpoint. Raises ValueError if there is none.
    """
    stream = io.BytesIO(data)
    opcodes = list(pickletools.genops(stream))
    with contextlib.suppress(Exception):  # whatever pickletools makes of bytes that are no pickle
        for _ in range(3):
            opcodes += pickletools.genops(stream)
    protocol = 0
    wanted: list[str] = []
    strings: list[str] = []
    for opcode, argument, _ in opcodes:
        if opcode.name == "PROTO":
            protocol = int(argument or 0)
        elif opcode.name == "GLOBAL":
            wanted.append(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            wanted.append(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return protocol, wanted
