"""MNIST as tensors: the files that ship with the zoo, read through torchvision's own dataset class.

torchvision reads unpacked files only, so they are unpacked once into the user's cache folder and verified on each use.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from weightzip.errors import CheckpointError, OutputError
from weightzip.files import atomic_path

_PACKED = Path(__file__).parent / "data" / "mnist"
_MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_MEAN, _STD = 0.1307, 0.3081  # of the training pixels, scaled to [0, 1]


@dataclass(frozen=True)
class Images:
    """Labelled images.

    images: float32 [N, 1, 28, 28], normalised to mean 0 and variance 1 over the training set.
    labels: int64 [N], 0 to 9.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over all images: in order, or shuffled by `generator`. The last batch may be smaller."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for indices in torch.split(order, batch_size):
            yield self.images[indices], self.labels[indices]


@lru_cache(maxsize=2)
def mnist(*, train: bool) -> Images:
    """The 60,000 training images or the 10,000 test images; read once, then shared: do not modify them.

    Raises OutputError where neither the cache folder nor the temporary folder can be written.
    """
    from torchvision.datasets import MNIST  # slow to import

    with _unpacked() as root:
        source = MNIST(str(root), train=train)
    pixels = source.data.unsqueeze(1).float() / 255  # [N, 1, 28, 28]
    return Images(images=(pixels - _MEAN) / _STD, labels=source.targets)


@contextlib.contextmanager
def _unpacked() -> Iterator[Path]:
    """A folder that torchvision can read MNIST from: the user's cache, or else a temporary one."""
    cache = platformdirs.user_cache_path("weightzip")
    try:
        unpack_mnist(cache)
    except OutputError:
        with tempfile.TemporaryDirectory(prefix="weightzip-") as temporary:
            unpack_mnist(Path(temporary))
            yield Path(temporary)
    else:
        yield cache


def unpack_mnist(root: Path) -> None:
    """Unpack MNIST to root/MNIST/raw, where torchvision looks for it; files that are there and whole are kept.

    Each file appears under its name only when complete, so that two processes may do this at once.
    Raises OutputError where `root` cannot be written, CheckpointError where a packed file is damaged.
    """
    folder = root / "MNIST" / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    for name, md5 in _MD5.items():
        if not _is_whole(folder / name, md5):
            _unpack(name, folder / name)


def _is_whole(path: Path, md5: str) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return _digest(content) == md5


def _unpack(name: str, target: Path) -> None:
    packed = _PACKED / f"{name}.gz"
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise CheckpointError(f"{packed}: cannot be read: {error}; reinstall weightzip") from error
    if _digest(content) != _MD5[name]:
        raise CheckpointError(f"{packed}: damaged; reinstall weightzip")
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def _digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
