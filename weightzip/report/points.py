"""One point of the curve: a method at a setting, as a file on disk and as the metric of what it restores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from weightzip.interface import JSON

AUTO, PAPER, LOSSLESS = "weightzip auto", "weightzip paper", "weightzip lossless"
OWN = (AUTO, PAPER, LOSSLESS)


@dataclass(frozen=True)
class Point:
    """method, setting: for people. file_bytes: of the file on disk. ratio: bytes of the input's tensors / file_bytes.

    value, original: the task's metric of the restored and of the original weights. latent_ratio: the paper's accounting,
    which counts the latents alone; None without latents. relative_mse: against the original weights.
    seconds: of encoding, training included.
    """

    method: str
    setting: str
    file_bytes: int
    ratio: float
    value: float
    original: float
    latent_ratio: float | None
    relative_mse: float
    seconds: float

    def to_json(self) -> dict[str, JSON]:
        """As in points.json, with these field names."""
        return asdict(self)


def by_method(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points of each method, largest file first; methods in the order in which they first come."""
    methods: dict[str, list[Point]] = {}
    for point in points:
        methods.setdefault(point.method, []).append(point)
    return {method: sorted(own, key=lambda point: point.ratio) for method, own in methods.items()}


def smallest_within(points: Iterable[Point], tolerance: float) -> Point | None:
    """The smallest file whose metric is at most `tolerance` below the original's; None if there is none."""
    good = [point for point in points if point.original - point.value <= tolerance]
    return max(good, key=lambda point: point.ratio, default=None)
