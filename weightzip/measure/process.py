"""Starting the processes that measure codecs, and asking them; `peers.worker` is the other side."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import weightzip
from weightzip.errors import MeasurementError
from weightzip.measure.conditions import Conditions

_PACKAGE_ROOT = Path(weightzip.__file__).parent.parent
_RUN_PEER = "import importlib, sys; sys.path.append(sys.argv[1]); importlib.import_module('peers.' + sys.argv[2]).main()"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True)
class Trial:
    """What a codec makes of a checkpoint at one setting. num_bytes: all that decoding takes."""

    num_bytes: int
    relative_mse: float


@dataclass(frozen=True)
class Measurement(Trial):
    """The same, with how long it takes, and at its peak how many bytes of memory; None where the system does not say."""

    encode_seconds: float
    decode_seconds: float
    encode_peak: int | None
    decode_peak: int | None


class Worker:
    """A process that has loaded a codec and a checkpoint. log: its stderr."""

    def __init__(self, codec: str, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        self._requests, self._answers = process.stdin, process.stdout
        self._codec, self._process, self._log = codec, process, log
        self._answer()

    def attempt(self, setting: float | None) -> Trial:
        """Encode and decode once. Raises MeasurementError."""
        return Trial(**self._ask("try", setting))

    def measure(self, setting: float | None) -> Measurement:
        """Encode and decode, with a clock. Raises MeasurementError."""
        return Measurement(**self._ask("measure", setting))

    def _ask(self, verb: str, setting: float | None) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # it died; that there is no answer tells more
            self._requests.write(json.dumps({"verb": verb, "setting": setting}) + "\n")
            self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise MeasurementError(f"{self._codec}: its process ended with code {self._process.wait()}{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{self._codec}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        """The last line on its stderr."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def own_worker(codec: str, name: str, given: Conditions) -> contextlib.AbstractContextManager[Worker]:
    """A process for one of weightzip's own codecs, by its name in `own.CODERS`; `name` is for messages."""
    command = [sys.executable, "-m", "weightzip.measure.own", codec]
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return _worker(name, command, given, {"PYTHONPATH": os.pathsep.join(paths)})


def peer_worker(interpreter: Path, module: str, name: str, given: Conditions) -> contextlib.AbstractContextManager[Worker]:
    """A process of another environment's interpreter, for the peer that the module of `peers` measures."""
    command = [str(interpreter), "-c", _RUN_PEER, str(Path(__file__).parent), module]
    return _worker(name, command, given, {})


@contextlib.contextmanager
def _worker(name: str, command: Sequence[str], given: Conditions, variables: dict[str, str]) -> Iterator[Worker]:
    """The process is gone when the block ends, however it ends. Raises MeasurementError where it cannot load."""
    threads = dict.fromkeys(_THREAD_VARIABLES, str(given.threads))
    with tempfile.TemporaryFile(dir=given.folder) as log:
        process = subprocess.Popen(  # noqa: S603  # the interpreter is the user's own choice
            [*command, str(given.tiny), str(given.weights), str(given.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=given.folder,
            env=os.environ | threads | {"CUDA_VISIBLE_DEVICES": ""} | variables,
            encoding="utf-8",
        )
        try:
            yield Worker(name, process, log)
        finally:
            process.kill()
            process.communicate()
