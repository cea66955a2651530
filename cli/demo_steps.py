"""The steps of the demo; heavy to import, hence apart from the command.

zoo checkpoint --compress--> .wz --restore, in a process of its own--> checkpoint --evaluate--> Point
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import weightzip
from weightzip import checkpoint as checkpoints
from weightzip.api import read_state
from weightzip.errors import WeightzipError
from weightzip.files import atomic_path
from weightzip.measure import quick_curve
from weightzip.progress import Meter, Progress
from weightzip.results import AUTO, PAPER, Point
from weightzip.summary import Summary
from weightzip.tasks import evaluate_state, load_task
from weightzip.zoo import entry

_PACKAGE_ROOT = Path(weightzip.__file__).parent.parent


@dataclass(frozen=True)
class Variant:
    """One way to compress. tag: what its files are called by. seconds: roughly what it takes, for a progress bar."""

    method: str
    setting: str
    tag: str
    seconds: float
    preset: str = "auto"
    max_drop: float | None = None


VARIANTS = (
    Variant(AUTO, "default quality", "default", 12),
    Variant(AUTO, "at most 1 point lost", "max-drop-1", 50, max_drop=1.0),
    Variant(PAPER, "latent 64", "paper", 45, preset="paper"),
)
_BACK_SECONDS = 8  # of them, to restore and evaluate
CURVE_SECONDS = 45
OTHERS_SECONDS = 15


def copy_checkpoint(name: str, folder: Path) -> Path:
    """The zoo's checkpoint of a model, as a file of the folder's own."""
    copy = folder / f"{name}.safetensors"
    with atomic_path(copy) as temporary:
        shutil.copyfile(entry(name).checkpoint, temporary)
    return copy


def there_and_back(original: Path, variant: Variant, progress: Progress) -> Point:
    """Compress a copied checkpoint, restore it in a process that has nothing but the .wz, and evaluate what came back."""
    task = f"zoo:{original.stem}"
    file = original.with_name(f"{original.stem}-{variant.tag}.wz")
    restored = original.with_name(f"{original.stem}-{variant.tag}-restored.safetensors")
    needs_task = variant.max_drop is not None
    meter = Meter(progress, variant.seconds)
    with meter.job("compressing", variant.seconds - _BACK_SECONDS) as inner:
        summary = weightzip.compress(
            original,
            file,
            preset=variant.preset,
            max_drop=variant.max_drop,
            task=task if needs_task else None,
            force=True,
            progress=inner,
        )
    with meter.job("restoring", _BACK_SECONDS):
        _restore_alone(file, restored)
        return _point(variant.method, variant.setting, summary, task, original, restored)


def curve(original: Path, progress: Progress) -> list[Point]:
    """The default codec and every baseline over their ranges of settings, each written to a file and read back."""
    return quick_curve(checkpoints.read(original), load_task(f"zoo:{original.stem}"), progress)


def default_quality(names: Sequence[str], folder: Path, progress: Progress) -> list[Point]:
    """Zoo models at the default quality; the file itself is what is evaluated."""
    points = []
    meter = Meter(progress, len(names))
    for name in names:
        checkpoint, file = entry(name).checkpoint, folder / f"{name}.wz"
        with meter.job(name, 1) as inner:
            summary = weightzip.compress(checkpoint, file, force=True, progress=inner)
        points.append(_point(name, "default quality", summary, f"zoo:{name}", checkpoint, file))
    return points


def _restore_alone(file: Path, restored: Path) -> None:
    """Run `weightzip restore` as a process of its own in a folder that holds nothing but the .wz."""
    with tempfile.TemporaryDirectory(prefix="weightzip-") as alone:
        shutil.copy(file, alone)
        command = [sys.executable, "-m", "weightzip", "restore", file.name, "-o", str(restored.absolute()), "-f", "-q"]
        paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # this very program, installed or not
        done = subprocess.run(command, cwd=alone, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise WeightzipError(f"{file}: restoring in a process of its own failed: {done.stderr.strip()}")


def _point(method: str, setting: str, summary: Summary, task_name: str, original: Path, restored: Path) -> Point:
    task = load_task(task_name)
    return Point(
        method=method,
        setting=setting,
        file_bytes=summary["file_bytes"],
        ratio=summary["ratio"],
        value=evaluate_state(task, read_state(restored)),
        original=evaluate_state(task, read_state(original)),
        latent_ratio=summary["latent_ratio"],
        relative_mse=summary["relative_mse"],
        seconds=summary["seconds"],
    )
