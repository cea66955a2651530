"""A run in a file, so that it can go on after an interrupt, and comes to the same end as if there had been none."""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightzip.adapt.training import TENSORS, State
from weightzip.errors import OutputError
from weightzip.files import atomic_path

_VERSION = 1
_PLAIN = {"price": float, "step": int, "slower": float, "loss": float, "norm": float, "closest": float, "attempt": int}
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam, per parameter


@dataclass(frozen=True)
class SavedRun:
    """path: of the file; identity: of the run, which only a run of the same checkpoint, task and settings has."""

    path: Path
    identity: str

    def save(self, state: State) -> None:
        """Write the state; the file is replaced as a whole. Raises OutputError."""
        content = {
            "weightzip run": _VERSION,
            "identity": self.identity,
            "plain": {name: getattr(state, name) for name in _PLAIN},
            "codes": None if state.codes is None else list(state.codes),
            "tensors": {name: getattr(state, name) for name in TENSORS},
            "moments": [dict(state.optimiser.state[each]) for each in (state.latents, state.log_steps)],
            "best": None if state.best is None else list(state.best),
        }
        with atomic_path(self.path, force=True) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(content, file)
            except RuntimeError as error:  # how torch says that writing failed
                raise error.__context__ if isinstance(error.__context__, OSError) else OSError(errno.EIO, str(error)) from error

    def load(self, state: State, *, others: bool) -> None:
        """Take over what was saved, if there is a file; the state's own tensors are filled.

        Where the file is that of another run, or no run at all, the state stays as it is if `others` are to be replaced.
        Raises OutputError if not.
        """
        if not self.path.exists():
            return
        try:
            content: Any = torch.load(self.path, weights_only=True, map_location=state.latents.device)
            if content["weightzip run"] != _VERSION or content["identity"] != self.identity:
                raise ValueError
            _take_over(content, state)
        except (OSError, MemoryError) as error:
            raise OutputError(f"{self.path}: cannot be read: {error}; its run cannot go on") from error
        except Exception as error:
            if others:
                return
            raise OutputError(
                f"{self.path}: is not a run of this checkpoint with these settings; delete it to begin anew, or use -f"
            ) from error


def identity_of(tensors: Mapping[str, Tensor], settings: Mapping[str, object]) -> str:
    """What tells a run from others: a hash of the weights it began with and of its settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in tensors.items():
        digest.update(json.dumps([name, list(tensor.shape), str(tensor.dtype)]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _take_over(content: Mapping[str, Any], state: State) -> None:
    """Raises an error of some kind where the content is not that of a run with so many latents."""
    tensors = {name: _like(content["tensors"][name], getattr(state, name)) for name in TENSORS}
    moments = [
        {key: _like(found[key], None if key == "step" else owner) for key in _MOMENTS}
        for found, owner in zip(content["moments"], (state.latents, state.log_steps), strict=True)
    ]
    plain = {name: kind(content["plain"][name]) for name, kind in _PLAIN.items()}
    codes = None if content["codes"] is None else tuple(int(code) for code in content["codes"])
    best = content["best"]
    if best is not None:
        symbols, size, value, done = best
        symbols = _like(symbols, state.latents, torch.int32).cpu()
        best = symbols, float(size), None if value is None else float(value), float(done)
    if (codes is not None and len(codes) != len(state.log_steps)) or not math.isfinite(plain["price"]):
        raise ValueError
    for name, tensor in tensors.items():
        getattr(state, name).copy_(tensor)
    for owner, own in zip((state.latents, state.log_steps), moments, strict=True):
        state.optimiser.state[owner] = own
    for name, value in plain.items():
        setattr(state, name, value)
    state.codes, state.best = codes, best


def _like(found: Any, wanted: Tensor | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor found, if it is one of the shape wanted."""
    shape = () if wanted is None else wanted.shape
    if not isinstance(found, Tensor) or found.shape != shape or found.dtype != dtype:
        raise TypeError
    return found
