"""What a side-by-side measurement gives: a row for each codec and quality."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from weightzip.interface import JSON
from weightzip.measure.equal_error import decibels
from weightzip.results import Machine


@dataclass(frozen=True)
class Row:
    """A codec at one quality, or a lossless one.

    quality_db: the signal-to-noise ratio that was asked for, None for lossless. relative_mse: the error that it has.
    bytes: of the whole file. ratio: bytes of the floating-point tensors, in their own dtypes, / bytes of the file.
    encode_mb_s, decode_mb_s: 10^6 bytes of the floating-point tensors as float32, per second.
    encode_peak_mb, decode_peak_mb: most memory in use beyond the loaded checkpoint, 10^6 bytes; None where nobody can tell.
    relative_to_nncodec: bytes / NNCodec's at the same quality; None without NNCodec.
    """

    codec: str
    quality_db: float | None
    relative_mse: float
    bytes: int
    ratio: float
    bits_per_weight: float
    encode_mb_s: float
    decode_mb_s: float
    encode_peak_mb: float | None
    decode_peak_mb: float | None
    relative_to_nncodec: float | None

    @property
    def snr_db(self) -> float:
        """-10 log10(relative_mse); infinite for lossless codecs."""
        return decibels(self.relative_mse)

    def to_json(self) -> dict[str, JSON]:
        """The fields, and snr_db."""
        return asdict(self) | {"snr_db": self.snr_db}


@dataclass(frozen=True)
class SideBySide:
    """All codecs on one checkpoint.

    source: its path. weights: elements of its model's floating-point tensors. input_bytes: of these tensors, in their dtypes.
    missing: peers that are not installed. failed: what a peer that failed said, by its name.
    """

    source: str
    weights: int
    input_bytes: int
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    failed: dict[str, str]

    def to_json(self) -> dict[str, JSON]:
        """As in `bench --json`."""
        return {
            "input": self.source,
            "weights": self.weights,
            "input_bytes": self.input_bytes,
            "rows": [row.to_json() for row in self.rows],
            "missing": list(self.missing),
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Benchmark:
    """All codecs on all checkpoints. date: of the beginning, ISO 8601 in UTC."""

    machine: Machine
    date: str
    threads: int
    checkpoints: tuple[SideBySide, ...]

    def to_json(self) -> dict[str, JSON]:
        """As in `bench --json`."""
        return {
            "machine": asdict(self.machine),
            "date": self.date,
            "threads": self.threads,
            "checkpoints": [checkpoint.to_json() for checkpoint in self.checkpoints],
        }
