"""Size at equal error, speed and memory of weightzip and its peers on checkpoints, without any task.

checkpoint --model's weights--> .safetensors --a process per codec--> bytes, error, seconds, memory --> Row
                                                setting <--equal_error--> error

One process runs at a time; a setting is searched in one, then measured in a fresh one.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from weightzip import checkpoint as checkpoints
from weightzip.errors import MeasurementError
from weightzip.measure.conditions import Conditions, prepare
from weightzip.measure.environment import MODULES, NNCODEC, ZIPNN, Environment
from weightzip.measure.equal_error import decibels, matching_step, nearest_integer
from weightzip.measure.machine import library_versions, machine_kind
from weightzip.measure.own import ZSTD_LEVEL
from weightzip.measure.process import Worker, own_worker, peer_worker
from weightzip.measure.rows import Benchmark, Row, SideBySide
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.results import Machine

WEIGHTZIP, LOSSLESS, ZSTD = "weightzip", "weightzip --lossless", f"zstd -{ZSTD_LEVEL}"
_OWN = {WEIGHTZIP: "auto", LOSSLESS: "lossless", ZSTD: "zstd"}  # what `own` calls them
_QP_LOW, _QP_HIGH = -60, 0  # NNCodec's quantisation parameters, for about 95 to 5 dB
_MB = 1e6


def measure_speed(
    sources: Sequence[Path], snrs: Sequence[float], environment: Environment, threads: int, progress: Progress = silent
) -> Benchmark:
    """Measure lossless codecs, and lossy ones at each signal-to-noise ratio of `snrs` (dB), on the weights of each checkpoint.

    Where NNCodec is installed, it takes the integer parameter nearest to a ratio, and weightzip is measured at NNCodec's very
    error; otherwise at the ratio itself. A peer that fails is left out by name.

    Raises CheckpointError, OutputError where there is no room for a copy, MeasurementError where weightzip itself fails.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    for source in sources:
        checkpoints.read(source)  # before any of them is measured
    results = [_side_by_side(source, snrs, environment, threads, progress) for source in sources]
    machine = Machine(machine_kind(), library_versions() | environment.versions)
    return Benchmark(machine, date, threads, tuple(results))


def _side_by_side(
    source: Path, snrs: Sequence[float], environment: Environment, threads: int, progress: Progress
) -> SideBySide:
    with tempfile.TemporaryDirectory(prefix="weightzip-") as scratch:
        given = prepare(source, Path(scratch).absolute(), threads)
        contest = _Contest(given, environment, _Steps(source.name, _num_steps(snrs, environment), progress))
        rows = (*contest.lossless(), *contest.lossy(snrs))
    missing = tuple(environment.missing)
    return SideBySide(str(source), given.num_weights, given.input_bytes, rows, missing, contest.failed)


def _num_steps(snrs: Sequence[float], environment: Environment) -> int:
    """Two lossless codecs and ZipNN; for each ratio a search and a measurement; NNCodec's search, and its measurements."""
    zipnn = int(ZIPNN in environment.versions)
    nncodec = 1 + len(snrs) if snrs and NNCODEC in environment.versions else 0
    return 2 + zipnn + 2 * len(snrs) + nncodec


class _Steps:
    """Tells the progress callback which of `total` steps is under way."""

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage, self._total, self._progress = stage, total, progress
        self._begun = 0

    def begin(self, detail: str) -> None:
        """The next step."""
        self._begun += 1
        self.detail(detail)

    def detail(self, detail: str) -> None:
        """More of the same step."""
        self._progress(ProgressEvent(self._stage, self._begun - 1, self._total, detail))


@dataclass(frozen=True)
class _Contest:
    """All codecs on one checkpoint. failed: peers, by name, and what they said."""

    given: Conditions
    environment: Environment
    steps: _Steps
    failed: dict[str, str] = field(default_factory=dict)

    def lossless(self) -> Iterator[Row]:
        """A row for each lossless codec."""
        yield self._measure(LOSSLESS)
        peer = self._measure_peer(ZIPNN) if ZIPNN in self.environment.versions else None
        if peer is not None:
            yield peer
        yield self._measure(ZSTD)

    def lossy(self, snrs: Sequence[float]) -> Iterator[Row]:
        """For each ratio a row of weightzip, then, where it is installed and works, one of NNCodec."""
        parameters = self._parameters(snrs) if snrs and NNCODEC in self.environment.versions else {}
        for wanted in snrs:
            peer = self._measure_peer(NNCODEC, wanted, parameters[wanted]) if parameters else None
            if peer is None:
                yield self._at_error(wanted, 10 ** (-wanted / 10))
                continue
            own = self._at_error(wanted, peer.relative_mse)
            yield replace(own, relative_to_nncodec=own.bytes / peer.bytes)
            yield replace(peer, relative_to_nncodec=1.0)

    def _parameters(self, snrs: Sequence[float]) -> dict[float, int]:
        """NNCodec's quantisation parameter for each ratio; none where it fails."""
        self.steps.begin(f"{NNCODEC}: searching quantisation parameters")
        try:
            with self._worker(NNCODEC) as worker:

                @functools.cache
                def snr(parameter: int) -> float:
                    found = decibels(worker.attempt(parameter).relative_mse)
                    self.steps.detail(f"{NNCODEC}: quantisation parameter {parameter} gives {found:.2f} dB")
                    return found

                return {wanted: nearest_integer(snr, wanted, low=_QP_LOW, high=_QP_HIGH) for wanted in snrs}
        except MeasurementError as error:
            self.failed[NNCODEC] = str(error)
            return {}

    def _at_error(self, quality: float, wanted: float) -> Row:
        """weightzip at a relative mean square error."""
        self.steps.begin(f"{WEIGHTZIP}: searching the step size for {decibels(wanted):.2f} dB")
        with self._worker(WEIGHTZIP) as worker:
            step = matching_step(lambda step: worker.attempt(step).relative_mse, wanted)
        return self._measure(WEIGHTZIP, quality, step)

    def _measure_peer(self, peer: str, quality: float | None = None, setting: float | None = None) -> Row | None:
        """As `_measure`; a peer that fails is remembered, and the others go on."""
        try:
            return self._measure(peer, quality, setting)
        except MeasurementError as error:
            self.failed[peer] = str(error)
            return None

    def _measure(self, codec: str, quality: float | None = None, setting: float | None = None) -> Row:
        self.steps.begin(f"measuring {codec}" if quality is None else f"measuring {codec} at {quality:g} dB")
        with self._worker(codec) as worker:
            found = worker.measure(setting)
        megabytes = 4 * self.given.num_weights / _MB
        return Row(
            codec=codec,
            quality_db=quality,
            relative_mse=found.relative_mse,
            bytes=found.num_bytes,
            ratio=self.given.input_bytes / found.num_bytes,
            bits_per_weight=8 * found.num_bytes / self.given.num_weights,
            encode_mb_s=megabytes / found.encode_seconds,
            decode_mb_s=megabytes / found.decode_seconds,
            encode_peak_mb=_megabytes(found.encode_peak),
            decode_peak_mb=_megabytes(found.decode_peak),
            relative_to_nncodec=None,
        )

    def _worker(self, codec: str) -> contextlib.AbstractContextManager[Worker]:
        if codec in _OWN:
            return own_worker(_OWN[codec], codec, self.given)
        return peer_worker(self.environment.interpreter, MODULES[codec], codec, self.given)


def _megabytes(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else num_bytes / _MB
