"""What measuring gives and reports show: points of the curve, where files' bytes went, and the paper's findings.

measure --Results--> report, command line
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from weightzip.interface import JSON

if TYPE_CHECKING:
    from weightzip.vae import EpochLosses, VAESettings

AUTO, PAPER, LOSSLESS = "weightzip auto", "weightzip paper", "weightzip lossless"
CALIBRATED, FINETUNED = "weightzip calibrate", "weightzip finetune"
OWN = (AUTO, CALIBRATED, FINETUNED, PAPER, LOSSLESS)
PRUNED_AND_TRAINED, QUANTISED_AND_TRAINED = "pruning, retrained", "quantisation-aware training"


@dataclass(frozen=True)
class Point:
    """One point of the curve: a method at a setting, as a file on disk and as the metric of what it restores.

    method, setting: for people. file_bytes: of the file on disk. ratio: bytes of the input's tensors / file_bytes.

    value, original: the task's metric of the restored and of the original weights. latent_ratio: the paper's accounting,
    which counts the latents alone; None without latents. relative_mse: against the original weights.
    seconds: of encoding, training included. command: a command line that measures this very point again; "" where none does.
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
    command: str = ""

    @property
    def title(self) -> str:
        """Method and setting; no other point has it."""
        return titled(self.method, self.setting)

    def to_json(self) -> dict[str, JSON]:
        """As in points.json, with these field names."""
        return asdict(self)


@dataclass(frozen=True)
class Histogram:
    """How many weights lie in each of some bins of equal width between low and high, before and after coding."""

    low: float
    high: float
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class TensorShare:
    """What one tensor takes in a file, and what it lost.

    coding: "lossy" or "exact". stored_bytes: of the sections' bytes those that are its own; what tensors share (the header,
    tables, a decoder) belongs to none. relative_mse, max_abs_error: against the original, nan for tensors of no weights.
    histogram: None for tensors of no weights.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    coding: str
    num_elements: int
    stored_bytes: float
    relative_mse: float
    max_abs_error: float
    histogram: Histogram | None

    @property
    def bits_per_element(self) -> float:
        """Bits of the file per element; 0 for an empty tensor."""
        return 8 * self.stored_bytes / self.num_elements if self.num_elements else 0.0


@dataclass(frozen=True)
class StoredFile:
    """Where the bytes of a point's file went: section_bytes sums to point.file_bytes, header included.

    tensors: one by one, in the checkpoint's order; empty where nobody looked (the baselines').
    """

    point: Point
    section_bytes: dict[str, int]
    tensors: tuple[TensorShare, ...] = ()


@dataclass(frozen=True)
class LatentFinding:
    """The paper's codec at one number of latents per chunk.

    hidden: units of the hidden layer. history: losses by epoch, until early stopping. float_decoder_value: the metric
    with the decoder in fp32, before it is quantised for the file.
    """

    latent: int
    hidden: int
    point: Point
    history: tuple[EpochLosses, ...]
    float_decoder_value: float | None


@dataclass(frozen=True)
class FamilyRow:
    """One VAE family on one checkpoint, its residuals as coarse as a size allows that is the same for all.

    family: its name; the default codec, for comparison, is AUTO. denoising_gain_db: by how much the family's reconstruction of
    noise-perturbed copies is nearer to the clean weights than the copies are (peak signal to noise ratio). file_bytes to
    relative_mse: of the whole file on disk, as in `Point`; None where the decoder alone is over the size. decoder_bytes,
    latent_bytes, residual_bytes: of its sections. training_seconds: processor time on a CPU, wall time on a GPU.
    encode_seconds: wall time.
    """

    family: str
    original: float
    training_seconds: float
    denoising_gain_db: float | None
    file_bytes: int | None = None
    ratio: float | None = None
    value: float | None = None
    relative_mse: float | None = None
    encode_seconds: float | None = None
    decoder_bytes: int = 0
    latent_bytes: int = 0
    residual_bytes: int = 0

    def to_json(self) -> dict[str, JSON]:
        """As in families.json, with these field names."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingTime:
    """seconds_per_epoch: the fastest epoch after the first, training and validation copies together.

    Processor time on a CPU, so that other work on the machine does not count; wall time on a GPU.
    """

    model: str
    num_weights: int
    seconds_per_epoch: float


@dataclass(frozen=True)
class LinearFit:
    """Least squares: seconds per epoch = intercept + slope * number of weights; r_squared: explained share of variance."""

    intercept: float
    slope: float
    r_squared: float


@dataclass(frozen=True)
class Study:
    """The paper's findings, repeated. times is empty and fit None unless the task is one of the paper's four.

    timing: the settings under which times were taken.
    """

    latents: tuple[LatentFinding, ...]
    times: tuple[TrainingTime, ...]
    fit: LinearFit | None
    timing: VAESettings


@dataclass(frozen=True)
class Machine:
    """What the numbers were measured with. kind: in words. versions: of Python and the libraries that matter."""

    kind: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Results:
    """Every method on one checkpoint and task, and the paper's findings.

    input_bytes: of all tensors. num_weights: elements of floating-point tensors. original: metric of the checkpoint.
    files: one per point. left_out: settings that the task could not evaluate, with the reason.
    """

    input_bytes: int
    num_weights: int
    original: float
    files: tuple[StoredFile, ...]
    study: Study
    left_out: tuple[str, ...]
    machine: Machine


def titled(method: str, setting: str) -> str:
    """How a method at a setting is called, in messages and on command lines.

    >>> titled("uniform (per tensor)", "8 bit")
    'uniform (per tensor), 8 bit'
    """
    return f"{method}, {setting}"


def slug(title: str) -> str:
    """A title as a file's name.

    >>> slug("Deep Compression, sparsity 0.3, 5 bit")
    'deep-compression-sparsity-0.3-5-bit'
    """
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-.")


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
