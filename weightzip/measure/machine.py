"""What the numbers were measured with: versions, and the kind of machine; nothing that says whose."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

import weightzip
from weightzip.results import Machine

_LIBRARIES = ("torch", "numpy", "numba", "constriction", "zstandard")


def this_machine(device: str) -> Machine:
    """The machine, with its VAEs trained on `device`; versions of weightzip, Python and the libraries that matter."""
    where = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    return Machine(f"{machine_kind()}, training on {where}", library_versions())


def library_versions() -> dict[str, str]:
    """Of weightzip, Python and the libraries that matter."""
    found = {"weightzip": weightzip.__version__, "Python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _LIBRARIES}


def machine_kind() -> str:
    """E.g. "Linux, 2 cores, x86_64 (some CPU)"."""
    cores = os.cpu_count() or 1
    cpu = next(_cpu_models(), "")
    kind = f"{platform.machine()} ({cpu})" if cpu else platform.machine()
    return f"{platform.system()}, {cores} core{'s' if cores > 1 else ''}, {kind}"


def _cpu_models() -> Iterator[str]:
    """What Linux calls the CPU's cores; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return
    yield from (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
