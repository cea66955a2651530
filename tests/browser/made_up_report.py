"""A report made up for the tests of its page: every section filled, and names that try to break out of it."""

from pathlib import Path

import numpy as np

from weightzip.metric import Metric
from weightzip.report.result import Report
from weightzip.results import (
    AUTO,
    CALIBRATED,
    FINETUNED,
    LOSSLESS,
    PAPER,
    Histogram,
    LatentFinding,
    LinearFit,
    Machine,
    Point,
    Results,
    StoredFile,
    Study,
    TensorShare,
    TrainingTime,
)
from weightzip.vae import EpochLosses, VAESettings

HOSTILE = '</script></style><img src=x onerror="window.broken = 1"><b>&amp;\'"\\ {{ 7 * 7 }} ${1}'
NUM_TENSORS = 121
BINS = 64
ORIGINAL = 98.0
INPUT_BYTES = 88_000_000


def make_report() -> Report:
    """22 million weights in 121 tensors, four files whose tensors are told, and four methods more."""
    points = [
        *_curve(AUTO, 4, 60),
        *_curve(CALIBRATED, 20, 120),
        *_curve(FINETUNED, 30, 200),
        _point(LOSSLESS, "exact", 1.2, 98.0),
    ]
    points += [
        _point(PAPER, f"latent {latent}", ratio, 97.6, 2048 / latent) for latent, ratio in ((128, 12), (64, 13), (32, 13.5))
    ]
    points += [*_curve("Deep Compression", 5, 30), *_curve("zstd", 1.05, 1.1), *_curve(f"new {HOSTILE}", 2, 25)]
    told = {AUTO, CALIBRATED, FINETUNED, PAPER}
    files = tuple(StoredFile(point, _sections(point), _tensors(point) if point.method in told else ()) for point in points)
    losses = tuple(EpochLosses(epoch, 3000 / epoch, 3100 / epoch + 20 * abs(epoch - 20)) for epoch in range(1, 31))
    findings = tuple(
        LatentFinding(latent, 88, next(point for point in points if point.setting == f"latent {latent}"), losses, 97.9)
        for latent in (128, 64, 32)
    )
    times = tuple(TrainingTime(f"model {number}", 50_000 * number, 0.1 * number) for number in (1, 2, 3))
    study = Study(findings, times, LinearFit(0.0, 2e-6, 1.0), VAESettings())
    machine = Machine("2 cores", {"Python": "3.10"})
    results = Results(INPUT_BYTES, 22_000_000, ORIGINAL, files, study, (f"cast, float8: {HOSTILE}",), machine)
    return Report(Path("out"), f"model {HOSTILE}", f"task {HOSTILE}", Metric(f"score {HOSTILE}, %"), results, 0, "cpu", 12.0)


def _curve(method: str, smallest: float, largest: float) -> list[Point]:
    """Eight points, the last of them 2.5 below the original."""
    ratios, losses = np.geomspace(smallest, largest, 8), 2.5 * (np.arange(8) / 7) ** 3
    return [
        _point(method, f"step {number}", float(ratio), float(ORIGINAL - loss))
        for number, (ratio, loss) in enumerate(zip(ratios, losses, strict=True))
    ]


def _point(method: str, setting: str, ratio: float, value: float, latent_ratio: float | None = None) -> Point:
    command = f"weightzip report 'model {HOSTILE}' --task task.py:task --only '{method}, {setting}'"
    return Point(method, setting, round(INPUT_BYTES / ratio), ratio, value, ORIGINAL, latent_ratio, 0.01, 1.0, command)


def _sections(point: Point) -> dict[str, int]:
    header = 4000
    rest = point.file_bytes - header
    return {"header": header, "model": rest // 10, "symbols": rest // 2, "symbols.1": rest - rest // 10 - rest // 2}


def _tensors(point: Point) -> tuple[TensorShare, ...]:
    """In the checkpoint's order: two hostile ones, with a histogram and without, an empty one, and layers of all sizes."""
    draw = np.random.default_rng(0)
    layers = NUM_TENSORS - 3
    names = [HOSTILE, "nothing", f"small {HOSTILE}", *(f"encoder.layer.{number}.attention.weight" for number in range(layers))]
    sizes = [290_000, 0, 500, *draw.integers(1000, 300_000, layers).tolist()]
    share = 0.8 * point.file_bytes / sum(sizes)
    return tuple(_tensor(name, size, share * size, draw) for name, size in zip(names, sizes, strict=True))


def _tensor(name: str, size: int, stored: float, draw: np.random.Generator) -> TensorShare:
    if not size:
        return TensorShare(name, (0, 4), "float32", "exact", 0, 0.0, float("nan"), float("nan"), None)
    weights = draw.normal(0, 0.1, 2000)
    edges = np.linspace(-0.5, 0.5, BINS + 1)
    before, after = (np.histogram(values, edges)[0].tolist() for values in (weights, np.round(weights / 0.1) * 0.1))
    histogram = Histogram(-0.5, 0.5, tuple(before), tuple(after))
    return TensorShare(name, (size // 100, 100), "float32", "lossy", size, stored, 0.01 * size / 300_000, 0.05, histogram)
