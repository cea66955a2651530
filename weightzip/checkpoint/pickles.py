"""Pickles, looked into without executing anything: whether a file is one, whether torch wrote it, what it asks for."""

from __future__ import annotations

import contextlib
import io
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ZIP_MAGIC = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
# The format before the archive begins with a pickle of its magic number, in a frame from protocol 4 on.
LEGACY = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
_OLD_PICKLE = re.compile(rb"[(c\])}]")  # which text may begin with as well
_MAX_PICKLE_BYTES = 1 << 28
# What torch's safe loader knows; other globals are code to it.
_DATA = re.compile(
    r"torch\.(\w+|_utils\._rebuild_\w+|storage\.[A-Z]\w+|_tensor\._rebuild_\w+|nn\.parameter\.Parameter|serialization\._get_layout)"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|bytearray|complex)"
)


def looks_like_torch(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` is one for torch's loader, which would read any other to its end."""
    return bool(head.startswith(ZIP_MAGIC) or _PICKLE.match(head) or (_OLD_PICKLE.match(head) and _is_one_pickle(path)))


def is_plain_pickle(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` is a pickle that torch.save did not write."""
    return not head.startswith(ZIP_MAGIC) and not LEGACY.match(head) and _is_one_pickle(path)


def scan(path: Path) -> tuple[int, list[str]]:
    """The protocol of a file's pickle, and the globals that it asks for but torch's safe loader does not know.

    An old torch file is several pickles, the fourth of which is the checkpoint. Raises nearly anything if there is none.
    """
    stream = io.BytesIO(_bytes_of(path))
    opcodes = list(pickletools.genops(stream))
    with contextlib.suppress(Exception):  # whatever pickletools makes of bytes that are no pickle
        for _ in range(3):
            opcodes += pickletools.genops(stream)
    protocol = max((int(argument or 0) for opcode, argument, _ in opcodes if opcode.name == "PROTO"), default=0)
    return protocol, [name for name in _globals(opcodes) if not _DATA.fullmatch(name)]


def _is_one_pickle(path: Path) -> bool:
    """Whether a file is one whole pickle and nothing else; torch's old files have several, and values after them."""
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
            return not file.read(1)
    except Exception:  # whatever pickletools makes of bytes that are no pickle
        return False


def _bytes_of(path: Path) -> bytes:
    """The pickle in a torch archive, or the beginning of a plain pickle."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MAX_PICKLE_BYTES)
    with zipfile.ZipFile(path) as archive:
        record = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(record) as file:
            return file.read(_MAX_PICKLE_BYTES)


def _globals(opcodes: Iterable[tuple[pickletools.OpcodeInfo, Any | None, int | None]]) -> Iterator[str]:
    """The names of the globals that pickles ask for; those on the stack are told by the last two values pushed there."""
    pushed: list[str] = []  # strings; "" for any other value
    memo: dict[int, str] = {}  # what was pushed, by the number under which a pickle comes back to it
    for opcode, argument, _ in opcodes:
        match opcode.name:
            case "GLOBAL" | "INST":
                yield str(argument).replace(" ", ".")
                pushed.append("")
            case "STACK_GLOBAL":
                yield ".".join(pushed[-2:])
                pushed.append("")
            case "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else ""
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(argument or 0)] = pushed[-1] if pushed else ""
            case "GET" | "BINGET" | "LONG_BINGET":
                pushed.append(memo.get(int(argument or 0), ""))
            case "STOP":
                memo.clear()
            case "PROTO" | "FRAME":
                pass
            case _:
                pushed.append(argument if isinstance(argument, str) else "")
