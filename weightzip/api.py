"""The four verbs: compress, restore, info, test. Every option has the command line's name and default."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint, Layout
from weightzip.codec import (
    Coded,
    Decoded,
    Header,
    LosslessCodec,
    PaperCodec,
    Target,
    check_memory,
    decode,
    decode_container,
    encode,
    encode_to_target,
    read_header,
)
from weightzip.container import MAGIC, Container, unpack
from weightzip.devices import resolve_device
from weightzip.errors import CheckpointError, DamagedFileError, LimitError, TargetError, UsageError, WeightzipError
from weightzip.files import atomic_path, check_output, check_space
from weightzip.interface import JSON
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.summary import Summary, summarise
from weightzip.tasks import Task, evaluate_state, load_task
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

PRESETS = ("auto", "paper")
ADAPTATIONS = ("none",)
Source = str | Path | nn.Module | Mapping[str, object]


def compress(
    source: Source,
    output: str | Path | None = None,
    *,
    preset: str = "auto",
    ratio: float | None = None,
    bpw: float | None = None,
    max_error: float | None = None,
    max_drop: float | None = None,
    lossless: bool = False,
    task: str | Task | None = None,
    adapt: str = "none",
    vae: VAESettings | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Summary:
    """Write the smallest .wz file that meets the target, and say what it holds.

    source: a checkpoint's path, a state dict (or any tree around one), or a module; it is left as it is.
    output: by default the source's name with the suffix .wz, in the current folder for objects.
    At most one target: ratio (at least), bpw (bits per weight of the whole file, at most), max_error (of any weight),
    max_drop (of the task's metric), lossless; none asks for the default quality.
    adapt: only "none" so far. vae: settings of the paper preset; `seed` overrides theirs. dry_run: do everything but write.
    Raises a WeightzipError; nothing is written unless the file was decoded and found right.
    """
    start = time.monotonic()
    target = Target(ratio, bpw, max_error, max_drop)
    _check_options(preset, target, lossless, task, adapt, vae)
    place = resolve_device(device)
    path = Path(source) if isinstance(source, (str, Path)) else None
    destination = Path(output) if output is not None else _default_destination(path)
    if path is not None and _is_packed(path):
        raise CheckpointError(f"{path}: is a .wz file already; `weightzip restore {path}` gives its checkpoint back")
    if not dry_run:
        check_output(destination, source=path, force=force)
    job = load_task(task) if isinstance(task, str) else task
    with limited_threads(threads):
        model = checkpoints.read(path) if path is not None else checkpoints.from_object(_plain(source))
        measure = _measure(job, model) if job is not None else None
        settings = replace(vae or VAESettings(), seed=seed)
        coded = _encode(model, preset, target, lossless, measure, settings, place, progress)
        metric = _metric(job, model, coded, max_drop) if job is not None else None
        data = coded.pack()
        if not dry_run:
            _write_verified(data, coded, destination)
    summary = summarise(
        coded.header,
        unpack(data).section_bytes,
        source=str(path) if path is not None else type(source).__name__,
        output=str(destination),
        seconds=time.monotonic() - start,
    )
    summary["metric"] = metric
    return summary


def restore(
    file: str | Path,
    output: str | Path | None = None,
    *,
    tensor: str | None = None,
    memory: int | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """The model's state dict out of a .wz file, keys in the source's order; with `output`, the whole checkpoint is written too.

    tensor: only this one. memory: bytes that the restored tensors may take, and the working memory to get them where it is
    over 64 MiB. output: a file in the source's format, or in the one that its suffix (.pt, .safetensors) says.
    Raises a WeightzipError.
    """
    if output is not None:
        return restore_to(file, output, tensor=tensor, memory=memory, threads=threads, force=force, progress=progress).state
    with limited_threads(threads):
        return _state(_decode_file(Path(file), memory, progress), tensor, Path(file))


@dataclass(frozen=True)
class Restored:
    """What `restore_to` has written: the state dict (or the one tensor), where to, and what `info` says of the .wz file.

    complete: whether the output holds all that the source held; a .safetensors file holds a model's tensors, nothing else.
    """

    state: dict[str, Tensor]
    output: Path
    summary: Summary
    complete: bool


def restore_to(
    file: str | Path,
    output: str | Path | None = None,
    *,
    tensor: str | None = None,
    memory: int | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Restored:
    """`restore` to a file; by default beside the .wz file, under the source's own name, or under the one tensor's."""
    start = time.monotonic()
    path = Path(file)
    container, header = _open(path)
    destination = Path(output) if output is not None else path.with_name(_default_name(header.layout, tensor))
    check_output(destination, source=path, force=force)
    with limited_threads(threads):
        decoded = _decode(container, header, path, memory, progress)
        state = _state(decoded, tensor, path)
        _write_checkpoint(decoded, state if tensor is not None else None, destination, memory)
    fmt = checkpoints.output_format(destination, header.layout)
    complete = tensor is not None or fmt == "torch" or checkpoints.fits_safetensors(header.layout)
    summary = _summarise(header, decoded.section_bytes, file, start)
    return Restored(state, destination, summary, complete)


def load_into(module: nn.Module, file: str | Path) -> None:
    """Load a .wz file's weights into a module. Raises CheckpointError where keys or shapes do not fit."""
    decoded = _decode_file(Path(file), None, silent)
    state = checkpoints.state_dict(decoded.header.layout, decoded.tensors, strip_prefix=True)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file}: does not fit the module: {reason}") from error


def info(file: str | Path) -> Summary:
    """What a .wz file holds and where its bytes went, from its header alone; hashes are checked, nothing is decoded."""
    start = time.monotonic()
    container, header = _open(Path(file))
    return _summarise(header, container.section_bytes, file, start)


def test(file: str | Path, *, memory: int | None = None, progress: Progress = silent) -> Summary:
    """Check hashes and limits and decode everything; writes nothing. Raises a WeightzipError if the file is not whole."""
    start = time.monotonic()
    decoded = _decode_file(Path(file), memory, progress)
    checkpoints.rebuild(decoded.header.layout, decoded.tensors)
    return _summarise(decoded.header, decoded.section_bytes, file, start)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A model's state dict, without `module.` prefixes, out of any checkpoint or .wz file."""
    if Path(path).suffix == ".wz":
        decoded = _decode_file(Path(path), None, silent)
        return checkpoints.state_dict(decoded.header.layout, decoded.tensors, strip_prefix=True)
    model = checkpoints.read(Path(path))
    return checkpoints.state_dict(model.layout, model.tensors, strip_prefix=True)


def _check_options(preset: str, target: Target, lossless: bool, task: object, adapt: str, vae: VAESettings | None) -> None:
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}")
    if adapt not in ADAPTATIONS:
        raise UsageError(f"unknown adaptation {adapt!r}; use one of {', '.join(ADAPTATIONS)}")
    if vae is not None and preset != "paper":
        raise UsageError("VAE settings are for the paper preset; add --preset paper")
    has_target = target != Target()
    if lossless and (has_target or preset != "auto"):
        raise UsageError("--lossless stands alone: leave out the preset and the other targets")
    if preset == "paper" and has_target:
        raise UsageError("--preset paper has no target: its size follows from chunk and latent; use --preset auto")
    if target.max_drop is not None and task is None:
        raise UsageError("--max-drop needs a task to evaluate; name one with --task")


def _plain(source: object) -> object:
    """Any mapping as a dict, which is what a state dict's tree is made of."""
    return dict(source) if isinstance(source, Mapping) and not isinstance(source, dict) else source


def _is_packed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False  # reading the checkpoint will say what is wrong with it


def _default_destination(path: Path | None) -> Path:
    return path.with_suffix(".wz") if path is not None and path.name else Path("model.wz")


def _encode(
    model: Checkpoint,
    preset: str,
    target: Target,
    lossless: bool,
    measure: Callable[[dict[str, Tensor]], float] | None,
    vae: VAESettings,
    device: str,
    progress: Progress,
) -> Coded:
    if lossless:
        return encode(model, LosslessCodec(), progress)
    if preset == "paper":
        return encode(model, PaperCodec(vae, device=device), progress)
    return encode_to_target(model, target, evaluate=measure, progress=progress)


def _measure(job: Task, model: Checkpoint) -> Callable[[dict[str, Tensor]], float]:
    def measure(tensors: dict[str, Tensor]) -> float:
        return evaluate_state(job, checkpoints.state_dict(model.layout, tensors, strip_prefix=True))

    return measure


def _metric(job: Task, model: Checkpoint, coded: Coded, max_drop: float | None) -> dict[str, JSON]:
    measure = _measure(job, model)
    original, restored = measure(dict(model.tensors)), measure(coded.restored)
    if max_drop is not None and original - restored > max_drop:
        raise TargetError(f"task {job.name}: the metric of the same weights changes between evaluations; give it a fixed seed")
    return {"name": job.metric, "original": original, "restored": restored}


def _write_verified(data: bytes, coded: Coded, destination: Path) -> None:
    """Write, read back, decode, compare; only then does the file get its name. Lets go of `coded.restored`, to save memory."""
    check_space(destination, len(data))
    expected = {name: _digest(coded.restored.pop(name)) for name in list(coded.restored)}
    with atomic_path(destination) as temporary:
        temporary.write_bytes(data)
        written = decode(temporary.read_bytes(), str(destination)).tensors
        if any(_digest(written[name]) != digest for name, digest in expected.items()):
            raise DamagedFileError(f"{destination}: what was written decodes to something else; nothing was kept")


def _digest(tensor: Tensor) -> tuple[torch.Size, torch.dtype, bytes]:
    """What two tensors have in common only if all their bits are the same."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.shape, tensor.dtype, hashlib.sha256(content.data).digest()


def _decode_file(path: Path, memory: int | None, progress: Progress) -> Decoded:
    return _decode(*_open(path), path, memory, progress)


def _decode(container: Container, header: Header, path: Path, memory: int | None, progress: Progress) -> Decoded:
    progress(ProgressEvent("restoring", 0, 1))
    decoded = decode_container(container, header, str(path), memory=memory)
    progress(ProgressEvent("restoring", 1, 1))
    return decoded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightzipError(f"{path}: cannot be read: {error.strerror or error}") from error


def _open(path: Path) -> tuple[Container, Header]:
    """A .wz file, its hashes and its header checked, nothing decoded."""
    container = unpack(_read(path), str(path))
    return container, read_header(container, str(path))


def _summarise(header: Header, section_bytes: Mapping[str, int], file: str | Path, start: float) -> Summary:
    seconds = time.monotonic() - start
    return summarise(header, section_bytes, source=header.layout.source_name, output=str(file), seconds=seconds)


def _default_name(layout: Layout, tensor: str | None) -> str:
    return checkpoints.default_output(layout) if tensor is None else checkpoints.default_tensor_output(layout, tensor)


def _state(decoded: Decoded, tensor: str | None, path: Path) -> dict[str, Tensor]:
    """The model's state dict, or one tensor of it, or of the file."""
    state = checkpoints.state_dict(decoded.header.layout, decoded.tensors)
    return state if tensor is None else {tensor: _pick(state, decoded.tensors, tensor, path)}


def _pick(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name in state:
        return state[name]
    if name in tensors:
        return tensors[name]
    raise UsageError(f"{path}: holds no tensor {name!r}; `weightzip info {path}` lists them")


def _write_checkpoint(decoded: Decoded, only: dict[str, Tensor] | None, output: Path, memory: int | None) -> None:
    layout, tensors = decoded.header.layout, decoded.tensors
    fmt = checkpoints.output_format(output, layout)
    if only is not None:
        single = checkpoints.from_object(only, output.name)
        layout, tensors = single.layout, single.tensors
    # Tensors that share memory may be far larger once each is written by itself.
    num_bytes = checkpoints.written_bytes(layout, tensors, fmt)
    try:
        check_memory(num_bytes, memory)
    except LimitError as error:
        raise LimitError(f"{output}: {error}") from error
    check_space(output, num_bytes)
    with atomic_path(output) as temporary:
        checkpoints.write(layout, tensors, temporary, fmt)
