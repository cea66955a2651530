"""Memory and speed of the program itself on a large made-up checkpoint: whole processes, as a user starts them.

synthetic --files on a disk--> `weightzip compress`, `weightzip restore` --watch--> seconds, peak --> Footprint
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import weightzip
from weightzip.errors import OutputError
from weightzip.files import check_space
from weightzip.interface import JSON
from weightzip.measure.machine import library_versions, machine_kind
from weightzip.measure.stored import check_same_bits, check_same_tensors
from weightzip.measure.synthetic import SyntheticModel, checkpoint_path, tensor_shapes, write_synthetic
from weightzip.measure.watch import Watched, watch
from weightzip.progress import MEASURING, Meter, Progress, silent
from weightzip.results import Machine

_MB = 1e6
_FACTOR, _CONSTANT = 6, 500_000_000  # memory may take that many times the largest tensor's float32 bytes, and as many bytes
_COPIES = 3.1  # of the checkpoint on the disk: itself, its .wz file, what is restored
_IMPORTS = "import weightzip.cli.main, weightzip.api"


@dataclass(frozen=True)
class Run:
    """One process. file_bytes: of the .wz file that it wrote or read.

    seconds: of the whole process, imports included. mb_s: 10^6 bytes of the weights as float32 per second.
    peak_mb: its largest resident size, 10^6 bytes. beyond_imports_mb: the same, less that of a process that only imports.
    Both are None where the system does not say.
    """

    command: str
    seconds: float
    mb_s: float
    peak_mb: float | None
    beyond_imports_mb: float | None
    file_bytes: int


@dataclass(frozen=True)
class Footprint:
    """All runs on one checkpoint. date: of the beginning, ISO 8601 in UTC. input_bytes: of all tensors.

    largest_float32_bytes: of the largest tensor. imports_mb: resident size of a process that only imports the program.
    bound_mb: what a run may take at most, 6 x the largest tensor + 500 MB.
    """

    machine: Machine
    date: str
    threads: int
    model: SyntheticModel
    tensors: int
    weights: int
    input_bytes: int
    largest_float32_bytes: int
    imports_mb: float | None
    runs: tuple[Run, ...]

    @property
    def bound_mb(self) -> float:
        """10^6 bytes."""
        return (_FACTOR * self.largest_float32_bytes + _CONSTANT) / _MB

    def within_bound(self, figure: float | None) -> bool | None:
        """Whether a peak is not above the bound; None where nobody can tell."""
        return None if figure is None else figure <= self.bound_mb

    def to_json(self) -> dict[str, JSON]:
        """As in `bench --synthetic --json`."""
        plain = asdict(self) | {"bound_mb": self.bound_mb}
        plain["model"] |= {"largest_bytes": self.model.largest}
        for run, found in zip(self.runs, plain["runs"], strict=True):
            found["within_bound"] = self.within_bound(run.peak_mb)
            found["beyond_imports_within_bound"] = self.within_bound(run.beyond_imports_mb)
        return plain


def measure_footprint(
    model: SyntheticModel, folder: Path | None, *, lossless: bool, threads: int, progress: Progress = silent
) -> Footprint:
    """Make the checkpoint, compress and restore it at the default quality (and `lossless` too), and check what comes back.

    folder: where everything is written, and removed in the end; None: the system's folder for temporary files.
    Raises OutputError where there is no room, MeasurementError where a command fails or what it restores is not what it
    should be: names, shapes and dtypes, and every bit of what was stored losslessly.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    sizes = [math.prod(shape) for shape in tensor_shapes(model).values()]
    modes = [_LOSSY, _LOSSLESS] if lossless else [_LOSSY]
    with _scratch(folder) as scratch:
        check_space(scratch / "model", math.ceil(_COPIES * model.itemsize * sum(sizes)))
        series = _Series(model, scratch, sum(sizes), threads, Meter(progress, 2 + 2 * len(modes), MEASURING))
        imports = series.begin()
        runs = tuple(run for mode in modes for run in series.there_and_back(mode, imports))
    return Footprint(
        machine=Machine(machine_kind(), library_versions()),
        date=date,
        threads=threads,
        model=model,
        tensors=len(sizes),
        weights=sum(sizes),
        input_bytes=model.itemsize * sum(sizes),
        largest_float32_bytes=4 * max(sizes),
        imports_mb=_megabytes(imports),
        runs=runs,
    )


@contextlib.contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    try:
        scratch = tempfile.TemporaryDirectory(prefix="weightzip-", dir=folder)
    except OSError as error:
        raise OutputError(f"{folder or 'temporary files'}: cannot be written: {error.strerror or error}") from error
    with scratch as path:
        yield Path(path).absolute()


@dataclass(frozen=True)
class _Mode:
    """A way to compress: its options, and what must hold of what is restored."""

    options: tuple[str, ...]
    check: Callable[[Path, Path], None]


_LOSSY = _Mode((), check_same_tensors)
_LOSSLESS = _Mode(("--lossless",), check_same_bits)


@dataclass(frozen=True)
class _Series:
    """The checkpoint in a folder, and commands on it, one process at a time; everything measured in bytes."""

    model: SyntheticModel
    folder: Path
    num_weights: int
    threads: int
    meter: Meter

    def begin(self) -> int | None:
        """Write the checkpoint; returns what a process takes that only imports the program."""
        with self.meter.job("writing the checkpoint", 1):
            self._home.mkdir()
            write_synthetic(self.model, self._home)
        with self.meter.job("importing", 1):
            return self._watch("importing", "-c", _IMPORTS).peak

    def there_and_back(self, mode: _Mode, imports: int | None) -> Iterator[Run]:
        """Compress, restore, check, and remove what was written."""
        source, packed, restored = checkpoint_path(self._home), self.folder / "model.wz", self.folder / "restored"
        name = " ".join(("compress", *mode.options))
        yield self._run(name, imports, packed, "compress", str(source), "-o", str(packed), *mode.options)
        yield self._run(f"restore after {name}", imports, packed, "restore", str(packed), "-o", str(restored))
        mode.check(source, restored)
        packed.unlink()
        shutil.rmtree(restored) if restored.is_dir() else restored.unlink()

    @property
    def _home(self) -> Path:
        return self.folder / "model"

    def _run(self, name: str, imports: int | None, packed: Path, *arguments: str) -> Run:
        with self.meter.job(name, 1):
            found = self._watch(name, "-m", "weightzip", *arguments, "--threads", str(self.threads), "--quiet")
        return Run(
            command=name,
            seconds=found.seconds,
            mb_s=4 * self.num_weights / _MB / found.seconds,
            peak_mb=_megabytes(found.peak),
            beyond_imports_mb=None if found.peak is None or imports is None else _megabytes(max(0, found.peak - imports)),
            file_bytes=packed.stat().st_size,
        )

    def _watch(self, name: str, *arguments: str) -> Watched:
        paths = [str(Path(weightzip.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": ""}
        return watch(name, [sys.executable, *arguments], environment)


def _megabytes(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else num_bytes / _MB
