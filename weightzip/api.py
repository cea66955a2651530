"""The four verbs: compress, restore, info, test. Every option has the command line's name and default."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from weightzip import checkpoint as checkpoints
from weightzip.checkpoint import Checkpoint, Layout
from weightzip.codec import (
    Coded,
    Decoded,
    LosslessCodec,
    PaperCodec,
    Target,
    decode,
    encode,
    encode_to_target,
    read_header,
)
from weightzip.container import MAGIC, unpack
from weightzip.devices import resolve_device
from weightzip.errors import CheckpointError, DamagedFileError, UsageError, WeightzipError
from weightzip.files import atomic_path, check_output, check_space
from weightzip.interface import JSON
from weightzip.progress import Progress, ProgressEvent, silent
from weightzip.summary import Summary, summarise
from weightzip.tasks import Task, evaluate_state, load_task
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

PRESETS = ("auto", "paper")
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
    vae: settings of the paper preset; `seed` overrides theirs. dry_run: do everything but write.
    Raises a WeightzipError; nothing is written unless the file was decoded and found right.
    """
    start = time.monotonic()
    target = Target(ratio, bpw, max_error, max_drop)
    _check_options(preset, target, lossless, task)
    path = Path(source) if isinstance(source, (str, Path)) else None
    destination = Path(output) if output is not None else _default_destination(path)
    if path is not None and _is_packed(path):
        raise CheckpointError(f"{path}: is a .wz file already; `weightzip restore {path}` gives its checkpoint back")
    if not dry_run:
        check_output(destination, source=path, force=force)
    job = load_task(task) if isinstance(task, str) else task
    with limited_threads(threads):
        model = checkpoints.read(path) if path is not None else checkpoints.from_object(source)
        measure = _measure(job, model) if job is not None else None
        settings = replace(vae or VAESettings(), seed=seed)
        coded = _encode(model, preset, target, lossless, measure, settings, device, progress)
        metric = _metric(job, measure, model, coded) if job is not None and measure is not None else None
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

    tensor: only this one. memory: bytes that the restored tensors may take. output: a file in the source's format, or in
    the one that its suffix (.pt, .safetensors) says. Raises a WeightzipError.
    """
    path = Path(file)
    if output is not None:
        check_output(Path(output), source=path, force=force)
    with limited_threads(threads):
        decoded = _decode_file(path, memory, progress)
        layout = decoded.header.layout
        state = checkpoints.state_dict(layout, decoded.tensors)
        if tensor is not None:
            state = {tensor: _pick(state, decoded.tensors, tensor, path)}
        if output is not None:
            _write_checkpoint(decoded, state if tensor is not None else None, Path(output))
    return state


def default_restore_output(file: str | Path) -> Path:
    """Where `weightzip restore FILE` writes: beside FILE, under the source's own name."""
    return Path(file).with_name(checkpoints.default_output(_read_layout(Path(file))))


def drops_content(file: str | Path, output: str | Path) -> bool:
    """Whether restoring `file` to `output` leaves something out: a .safetensors file holds a model's tensors, nothing else."""
    layout = _read_layout(Path(file))
    return checkpoints.output_format(Path(output), layout) == "safetensors" and not checkpoints.fits_safetensors(layout)


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
    container = unpack(_read(Path(file)), str(file))
    header = read_header(container, str(file))
    return summarise(
        header,
        container.section_bytes,
        source=header.layout.source_name,
        output=str(file),
        seconds=time.monotonic() - start,
    )


def test(file: str | Path, *, memory: int | None = None, progress: Progress = silent) -> Summary:
    """Check hashes and limits and decode everything; writes nothing. Raises a WeightzipError if the file is not whole."""
    start = time.monotonic()
    decoded = _decode_file(Path(file), memory, progress)
    checkpoints.rebuild(decoded.header.layout, decoded.tensors)
    return summarise(
        decoded.header,
        decoded.section_bytes,
        source=decoded.header.layout.source_name,
        output=str(file),
        seconds=time.monotonic() - start,
    )


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A model's state dict, without `module.` prefixes, out of any checkpoint or .wz file."""
    if Path(path).suffix == ".wz":
        decoded = _decode_file(Path(path), None, silent)
        return checkpoints.state_dict(decoded.header.layout, decoded.tensors, strip_prefix=True)
    model = checkpoints.read(Path(path))
    return checkpoints.state_dict(model.layout, model.tensors, strip_prefix=True)


def _check_options(preset: str, target: Target, lossless: bool, task: object) -> None:
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}")
    has_target = target != Target()
    if lossless and (has_target or preset != "auto"):
        raise UsageError("--lossless stands alone: leave out the preset and the other targets")
    if preset == "paper" and has_target:
        raise UsageError("--preset paper has no target: its size follows from chunk and latent; use --preset auto")
    if target.max_drop is not None and task is None:
        raise UsageError("--max-drop needs a task to evaluate; name one with --task")


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
        return encode(model, PaperCodec(vae, device=resolve_device(device)), progress)
    return encode_to_target(model, target, evaluate=measure, progress=progress)


def _measure(job: Task, model: Checkpoint) -> Callable[[dict[str, Tensor]], float]:
    def measure(tensors: dict[str, Tensor]) -> float:
        return evaluate_state(job, checkpoints.state_dict(model.layout, tensors, strip_prefix=True))

    return measure


def _metric(job: Task, measure: Callable[[dict[str, Tensor]], float], model: Checkpoint, coded: Coded) -> dict[str, JSON]:
    return {"name": job.metric, "original": measure(dict(model.tensors)), "restored": measure(coded.restored)}


def _write_verified(data: bytes, coded: Coded, destination: Path) -> None:
    """Write, read back, decode, compare; only then does the file get its name."""
    check_space(destination, len(data))
    with atomic_path(destination) as temporary:
        temporary.write_bytes(data)
        written = decode(temporary.read_bytes(), str(destination))
        if not all(_same_bits(written.tensors[name], tensor) for name, tensor in coded.restored.items()):
            raise DamagedFileError(f"{destination}: what was written decodes to something else; nothing was kept")


def _same_bits(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))


def _decode_file(path: Path, memory: int | None, progress: Progress) -> Decoded:
    progress(ProgressEvent("restoring", 0, 1))
    decoded = decode(_read(path), str(path), memory=memory)
    progress(ProgressEvent("restoring", 1, 1))
    return decoded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightzipError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_layout(path: Path) -> Layout:
    return read_header(unpack(_read(path), str(path)), str(path)).layout


def _pick(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    if name in state:
        return state[name]
    if name in tensors:
        return tensors[name]
    raise UsageError(f"{path}: holds no tensor {name!r}; `weightzip info {path}` lists them")


def _write_checkpoint(decoded: Decoded, only: dict[str, Tensor] | None, output: Path) -> None:
    layout, tensors = decoded.header.layout, decoded.tensors
    fmt = checkpoints.output_format(output, layout)
    if only is not None:
        single = checkpoints.from_object(only, output.name)
        layout, tensors = single.layout, single.tensors
    check_space(output, decoded.header.tensor_bytes)
    with atomic_path(output) as temporary:
        checkpoints.write(layout, tensors, temporary, fmt)
