"""Writing a .wz file, part by part, and making sure of it before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.codec import Encoding, Header, Plan, decode_container, decode_parts, naming, read_header
from weightzip.container import ContainerWriter, open_container
from weightzip.errors import (
    DamagedFileError,
    LimitError,
    OutputError,
    UsageError,
    WeightzipError,
    is_out_of_memory,
)
from weightzip.files import atomic_path
from weightzip.progress import Progress, ProgressEvent

Digest = tuple[torch.Size, torch.dtype, bytes]


@dataclass(frozen=True)
class Written:
    """What was written: the header, what each section takes, and the digest of each tensor that was coded lossily."""

    header: Header
    section_bytes: dict[str, int]
    digests: dict[str, Digest]


@contextlib.contextmanager
def telling(name: str) -> Iterator[None]:
    """Say in one line that what is called `name` goes over a limit of files, or takes more memory than there is."""
    try:
        yield
    except LimitError:
        with naming(name):
            raise
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise WeightzipError(
            f"{name}: takes more memory to compress than there is; free some, or use fewer --threads"
        ) from error


def select(model: Checkpoint, include: Collection[str], exclude: Collection[str]) -> frozenset[str]:
    """The names of the weights that may be coded lossily: those that `include` names, if it names any, but no `exclude`.

    Both are patterns as the shell has them, for keys of the state dict, with or without what all of them begin with. Weights
    that are shared go by each of their keys. Raises UsageError for a pattern that fits no weight.
    """
    places = checkpoints.locate(model.layout, checkpoints.specs_of(model.tensors))
    keys = {key: place.base for key, place in places.items()} | {name: name for name in model.weights}
    keys |= {key.removeprefix(model.layout.prefix): base for key, base in keys.items()}

    def named(pattern: str) -> set[str]:
        found = {base for key, base in keys.items() if base in model.weights and fnmatchcase(key, pattern)}
        if not found:
            some = ", ".join(sorted(model.weights)[:3])
            raise UsageError(f"no weight is called {pattern!r}; there are, for example, {some or 'none at all'}")
        return found

    included = frozenset[str]().union(*map(named, include)) if include else model.weights
    return included.difference(*map(named, exclude))


@contextlib.contextmanager
def output_path(destination: Path, *, force: bool, dry_run: bool) -> Iterator[Path]:
    """Where to write: a temporary file that becomes `destination` if the block succeeds, or that nothing becomes of."""
    if not dry_run:
        with atomic_path(destination, force=force) as temporary:
            yield temporary
        return
    try:
        with tempfile.TemporaryDirectory(prefix="weightzip-") as folder:
            yield Path(folder) / "dry-run.wz"
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"dry run: cannot be written where temporary files go: {reason}; free some space there") from error


def write(model: Checkpoint, plan: Plan, path: Path, progress: Progress, *, digests: bool) -> Written:
    """Encode a checkpoint into a file; memory grows with the largest tensor, not with the checkpoint.

    digests: whether those of the tensors are wanted.
    """
    encoding = Encoding(model, plan.codec, progress, max_error=plan.max_error)
    found: dict[str, Digest] = {}
    with ContainerWriter(path) as writer:
        for part in encoding.parts():
            for name in list(part.sections):
                writer.add(name, part.sections.pop(name))
            if digests and not part.exact:  # exact ones bring digests of their own, of the source
                found |= {name: _digest(tensor) for name, tensor in part.restored.items()}
            del part  # before the next one is coded
        header = encoding.header()
        return Written(header, writer.finish(header.to_json()), found)


def verify(path: Path, written: Written, destination: Path, progress: Progress) -> None:
    """Decode the file as it lies on disk. Raises DamagedFileError where it restores to anything else than it should."""
    with naming(str(destination)), open_container(path, str(destination)) as container:
        header = read_header(container, str(destination))
        if json.dumps(header.to_json()) != json.dumps(written.header.to_json()):
            raise _other()
        checkpoints.locate(header.layout, header.tensors)
        names: set[str] = set()
        for name, tensor in decode_parts(container, header):
            if name in written.digests and _digest(tensor) != written.digests[name]:
                raise _other()
            del tensor  # before the next part is decoded
            names.add(name)
            progress(ProgressEvent("verifying", len(names), len(header.tensors)))
        if len(names) < len(header.tensors):
            raise _other()


def _other() -> DamagedFileError:
    return DamagedFileError("what was written decodes to something else; nothing was kept")


def restored(path: Path, destination: Path) -> dict[str, Tensor]:
    """All tensors of a file that has been written, to evaluate them."""
    with open_container(path, str(destination)) as container:
        header = read_header(container, str(destination))
        return decode_container(container, header, str(destination), memory=sys.maxsize).tensors  # what fits is known by now


def _digest(tensor: Tensor) -> Digest:
    """What two tensors have in common only if all their bits are the same."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.shape, tensor.dtype, hashlib.sha256(content.data).digest()
