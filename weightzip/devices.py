"""What this machine has: where training runs, and how much fits."""

from __future__ import annotations

import os

import torch

from weightzip.errors import UsageError


def resolve_device(name: str) -> str:
    """The device that `name` (cpu, cuda or auto) means here. Raises UsageError for others, and for cuda where there is none."""
    if name not in ("cpu", "cuda", "auto"):
        raise UsageError(f"unknown device {name!r}; use one of cpu, cuda, auto")
    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name == "cuda" and not available:
        raise UsageError("--device cuda: no CUDA device is available; use --device cpu")
    return name


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
