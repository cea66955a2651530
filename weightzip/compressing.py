"""Writing a .wz file, part by part, and making sure of it before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec import Encoding, Header, Plan, check_parts, decode_container, decode_parts, naming, read_header
from weightzip.container import ContainerWriter, open_container
from weightzip.errors import DamagedFileError, UsageError
from weightzip.files import atomic_path
from weightzip.progress import Progress, ProgressEvent

Digest = tuple[torch.Size, torch.dtype, bytes]


@dataclass(frozen=True)
class Written:
    """What was written: the header, what each section takes, and the digest of each tensor that was coded lossily."""

    header: Header
    section_bytes: dict[str, int]
    digests: dict[str, Digest]


def select(model: Checkpoint, include: tuple[str, ...], exclude: tuple[str, ...]) -> frozenset[str]:
    """The names of the weights that may be coded lossily: those that `include` names, if it names any, but no `exclude`.

    Both are patterns as the shell has them, for names with or without the prefix that all keys have in common.
    Raises UsageError for a pattern that fits no weight.
    """

    def named(pattern: str) -> set[str]:
        prefix = model.layout.prefix
        found = {name for name in model.weights if fnmatchcase(name, pattern) or fnmatchcase(prefix + name, pattern)}
        if not found:
            some = ", ".join(sorted(model.weights)[:3])
            raise UsageError(f"no weight is called {pattern!r}; there are, for example, {some or 'none at all'}")
        return found

    included = frozenset[str]().union(*map(named, include)) if include else model.weights
    return included.difference(*map(named, exclude))


@contextlib.contextmanager
def output_path(destination: Path, *, dry_run: bool) -> Iterator[Path]:
    """Where to write: a temporary file that becomes `destination` if the block succeeds, or that nothing becomes of."""
    if not dry_run:
        with atomic_path(destination) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory(prefix="weightzip-") as folder:
        yield Path(folder) / destination.name


def write(model: Checkpoint, plan: Plan, path: Path, progress: Progress) -> Written:
    """Encode a checkpoint into a file; memory grows with the largest tensor, not with the checkpoint."""
    encoding = Encoding(model, plan.codec, progress, max_error=plan.max_error)
    digests: dict[str, Digest] = {}
    with ContainerWriter(path) as writer:
        for part in encoding.parts():
            for name, data in part.sections.items():
                writer.add(name, data)
            if not part.exact:  # those bring digests of their own, of the source
                digests |= {name: _digest(tensor) for name, tensor in part.restored.items()}
            del part  # before the next one is coded
        header = encoding.header()
        return Written(header, writer.finish(header.to_json()), digests)


def verify(path: Path, written: Written, destination: Path, progress: Progress) -> None:
    """Decode the file as it lies on disk. Raises DamagedFileError where it restores to anything else than it should."""
    with naming(str(destination)), open_container(path, str(destination)) as container:
        header = read_header(container, str(destination))
        check_parts(header, None)
        left = {spec.name for spec in written.header.tensors}
        for name, tensor in decode_parts(container, header):
            if name in written.digests and _digest(tensor) != written.digests[name]:
                raise DamagedFileError("what was written decodes to something else; nothing was kept")
            del tensor  # before the next part is decoded
            left.remove(name)
            progress(ProgressEvent("verifying", len(header.tensors) - len(left), len(header.tensors)))
        if left or header.tensors != written.header.tensors or header.exact != written.header.exact:
            raise DamagedFileError("what was written decodes to something else; nothing was kept")


def restored(path: Path, destination: Path) -> dict[str, Tensor]:
    """All tensors of a file that has been written, to evaluate them."""
    with open_container(path, str(destination)) as container:
        return decode_container(container, read_header(container, str(destination)), str(destination)).tensors


def _digest(tensor: Tensor) -> Digest:
    """What two tensors have in common only if all their bits are the same."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.shape, tensor.dtype, hashlib.sha256(content.data).digest()
