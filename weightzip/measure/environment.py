"""Which other codecs an environment has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from weightzip.errors import UsageError

NNCODEC, ZIPNN = "NNCodec", "ZipNN"
MODULES = {NNCODEC: "nncodec", ZIPNN: "zipnn"}  # what they are imported as, and what their workers in `peers` are called
_INTERPRETERS = ("bin/python", "Scripts/python.exe")  # of a virtual environment
_SECONDS = 60
_PROBE = """
import importlib.metadata, importlib.util, json, sys

found = {}
for name in sys.argv[1:]:
    if importlib.util.find_spec(name):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown"
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Environment:
    """An interpreter, and the versions of the peers that are installed for it."""

    interpreter: Path
    versions: dict[str, str]

    @property
    def missing(self) -> list[str]:
        """The peers that are not installed."""
        return [name for name in MODULES if name not in self.versions]


def find_peers(where: Path | None) -> Environment:
    """The peers of a Python interpreter, of a virtual environment's folder, or (None) of this very interpreter.

    Nothing of the peers is imported. Raises UsageError where there is no Python.
    """
    interpreter = Path(sys.executable) if where is None else _interpreter(where)
    command = [str(interpreter), "-c", _PROBE, *MODULES.values()]
    try:
        # Elsewhere than here, where a folder called nncodec may lie.
        done = subprocess.run(  # noqa: S603
            command, cwd=interpreter.parent, capture_output=True, text=True, check=True, timeout=_SECONDS
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UsageError(f"--peers {where}: is no Python that runs; name the python of a virtual environment") from error
    return Environment(interpreter, {name: found[module] for name, module in MODULES.items() if module in found})


def _interpreter(where: Path) -> Path:
    candidates = [where / name for name in _INTERPRETERS] if where.is_dir() else [where]
    for candidate in candidates:
        if program := shutil.which(candidate):
            return Path(program).absolute()  # not resolved: a virtual environment is known by where its link lies
    raise UsageError(f"--peers {where}: no Python there; name the python of a virtual environment, or its folder")
