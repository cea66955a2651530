"""Writing a .wz file, part by part, and making sure of it before it gets its name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint
from weightzip.codec import Encoding, Header, Plan, decode_container, decode_parts, naming, read_header, tensor_bytes
from weightzip.container import ContainerWriter, open_container
from weightzip.errors import (
    DamagedFileError,
    LimitError,
    TargetError,
    UsageError,
    WeightzipError,
    is_out_of_memory,
)
from weightzip.files import atomic_path
from weightzip.interface import JSON
from weightzip.planning import Inputs, costs_of, plan
from weightzip.progress import Meter, Progress, ProgressEvent

Digest = tuple[torch.Size, torch.dtype, bytes]


@dataclass(frozen=True)
class Written:
    """What was written: the header, what each section takes, and the digest of each tensor that was coded lossily."""

    header: Header
    section_bytes: dict[str, int]
    digests: dict[str, Digest]


@dataclass(frozen=True)
class Compressed:
    """What came of it. stored: bytes of each tensor. metric: of the task, before and after. note: what to tell besides."""

    written: Written
    stored: dict[str, float]
    metric: dict[str, JSON] | None
    note: str


@contextlib.contextmanager
def telling(name: str) -> Iterator[None]:
    """Say in one line that what is called `name` goes over a limit of files, or takes more memory than there is."""
    try:
        yield
    except LimitError:
        with naming(name):
            raise
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise WeightzipError(
            f"{name}: takes more memory to compress than there is; free some, or use fewer --threads"
        ) from error


def select(model: Checkpoint, include: Collection[str], exclude: Collection[str]) -> frozenset[str]:
    """The names of the weights that may be coded lossily: those that `include` names, if it names any, but no `exclude`.

    Both are patterns as the shell has them, for keys of the state dict, with or without what all of them begin with. Weights
    that are shared go by each of their keys. Raises UsageError for a pattern that fits no weight.
    """
    places = checkpoints.locate(model.layout, checkpoints.specs_of(model.tensors))
    keys = {key: place.base for key, place in places.items()} | {name: name for name in model.weights}
    keys |= {key.removeprefix(model.layout.prefix): base for key, base in keys.items()}

    def named(pattern: str) -> set[str]:
        found = {base for key, base in keys.items() if base in model.weights and fnmatchcase(key, pattern)}
        if not found:
            some = ", ".join(sorted(model.weights)[:3])
            raise UsageError(f"no weight is called {pattern!r}; there are, for example, {some or 'none at all'}")
        return found

    included = frozenset[str]().union(*map(named, include)) if include else model.weights
    return included.difference(*map(named, exclude))


def compress(
    inputs: Inputs, destination: Path, origin: checkpoints.Origin, *, verify: bool, force: bool, progress: Progress
) -> Compressed:
    """Plan, write, verify and evaluate; progress is that of the whole. The file gets its name if all of that succeeds."""
    costs = costs_of(inputs, verify=verify)
    meter = Meter(progress, costs.total)
    meter.begin(inputs.request.stage)
    saved = destination.with_name(f"{destination.name}.run")  # where an adaptation is kept on the way
    with meter.job(inputs.request.stage, costs.planning) as inner:
        chosen = plan(inputs, saved=saved, force=force, progress=inner)
    with atomic_path(destination, force=force) as temporary:
        with meter.job("coding", costs.coding) as inner:
            written = write(inputs.model, chosen, temporary, inner, digests=verify)
        origin.check()
        if verify:
            with meter.job("verifying", costs.verifying) as inner:
                _verify(temporary, written, destination, inner)
        metric = None
        if inputs.job is not None:
            with meter.job("evaluating", costs.evaluating):
                metric = _metric(inputs, restored(temporary, destination))
        stored = _stored(temporary, destination)
    if inputs.request.adapt != "none" and inputs.request.steps != 0:
        saved.unlink(missing_ok=True)  # no sooner than the file that it was for is there
    return Compressed(written, stored, metric, chosen.note)


def _metric(inputs: Inputs, tensors: dict[str, Tensor]) -> dict[str, JSON]:
    assert inputs.job is not None
    assert inputs.measure is not None
    original, restored = inputs.measure(dict(inputs.model.tensors)), inputs.measure(tensors)
    max_drop = inputs.request.target.max_drop
    if max_drop is not None and original - restored > max_drop:
        name = inputs.job.name
        raise TargetError(f"task {name}: the metric of the same weights changes between evaluations; give it a fixed seed")
    return {"name": inputs.job.metric, "original": original, "restored": restored}


def write(model: Checkpoint, plan: Plan, path: Path, progress: Progress, *, digests: bool) -> Written:
    """Encode a checkpoint into a file; memory grows with the largest tensor, not with the checkpoint.

    digests: whether those of the tensors are wanted.
    """
    encoding = Encoding(model, plan.codec, progress, max_error=plan.max_error)
    found: dict[str, Digest] = {}
    with ContainerWriter(path) as writer:
        for part in encoding.parts():
            for name in list(part.sections):
                writer.add(name, part.sections.pop(name))
            if digests and not part.exact:  # exact ones bring digests of their own, of the source
                found |= {name: _digest(tensor) for name, tensor in part.restored.items()}
            del part  # before the next one is coded
        header = encoding.header()
        return Written(header, writer.finish(header.to_json()), found)


def _verify(path: Path, written: Written, destination: Path, progress: Progress) -> None:
    """Decode the file as it lies on disk. Raises DamagedFileError where it restores to anything else than it should."""
    with naming(str(destination)), open_container(path, str(destination)) as container:
        header = read_header(container, str(destination))
        if json.dumps(header.to_json()) != json.dumps(written.header.to_json()):
            raise _other()
        checkpoints.locate(header.layout, header.tensors)
        names: set[str] = set()
        done = 0
        for name, tensor in decode_parts(container, header):
            done += tensor.nbytes
            if name in written.digests and _digest(tensor) != written.digests[name]:
                raise _other()
            del tensor  # before the next part is decoded
            names.add(name)
            progress(ProgressEvent("verifying", done, header.tensor_bytes))
        if len(names) < len(header.tensors):
            raise _other()


def _other() -> DamagedFileError:
    return DamagedFileError("what was written decodes to something else; nothing was kept")


def restored(path: Path, destination: Path) -> dict[str, Tensor]:
    """All tensors of a file that has been written, to evaluate them."""
    with open_container(path, str(destination)) as container:
        header = read_header(container, str(destination))
        return decode_container(container, header, str(destination), memory=sys.maxsize).tensors  # what fits is known by now


def _stored(path: Path, destination: Path) -> dict[str, float]:
    """What each tensor takes in a file that has been written."""
    with open_container(path, str(destination)) as container:
        return tensor_bytes(container, read_header(container, str(destination)), str(destination))


def _digest(tensor: Tensor) -> Digest:
    """What two tensors have in common only if all their bits are the same."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.shape, tensor.dtype, hashlib.sha256(content.data).digest()
