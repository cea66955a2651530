"""The five verbs: compress, restore, sample, info, test. Every option has the command line's name and default."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from weightzip import checkpoint as checkpoints
from weightzip import compressing, restoring, sampling
from weightzip.checkpoint import Checkpoint
from weightzip.codec import Target, keep_structured
from weightzip.devices import resolve_device
from weightzip.errors import CheckpointError
from weightzip.estimating import estimate
from weightzip.files import check_output, is_folder
from weightzip.planning import Inputs, Request
from weightzip.progress import Meter, Progress, silent
from weightzip.remote import takes_remote
from weightzip.restoring import Restored
from weightzip.sampling import Draws, Sampled
from weightzip.summary import Summary, summarise
from weightzip.tasks import Task, evaluate_state, load_task
from weightzip.threads import limited_threads
from weightzip.vae import VAESettings

Source = str | Path | nn.Module | Mapping[str, object]


@takes_remote
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
    steps: int | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    vae: VAESettings | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    verify: bool = True,
    progress: Progress = silent,
) -> Summary:
    """Write the smallest .wz file that meets the target, and say what it holds.

    source: a checkpoint's path, a state dict (or any tree around one), or a module; it is left as it is. hf:ORG/NAME is a model
    of Hugging Face's hub, torchvision:NAME one of torchvision; see `weightzip.remote`.
    output: by default the source's name with the suffix .wz, in the current folder for objects.
    At most one target: ratio (at least), bpw (bits per weight of the whole file, at most), max_error (of any weight),
    max_drop (of the task's metric), lossless; none asks for the default quality.
    adapt: "none"; "calibrate" moves the weights, so that with the task's unlabelled inputs the model answers as before in a far
    smaller file; "finetune" trains them on the task's own loss. Both need a task, and are kept in `<output>.run` on the way, so
    that the same call goes on after an interrupt. steps: of the optimiser; by default 2,500 and 10,000.
    include, exclude: patterns of the weights that may be coded lossily, and of those that may not.
    vae: settings of the paper preset; `seed` overrides theirs. dry_run: write nothing, but say what to expect, from a sample of
    the weights: a `weightzip.estimating.Estimate`. verify: decode what was written, and compare, before the file gets its name.
    Raises a WeightzipError; then nothing is written.
    """
    start = time.monotonic()
    target = Target(ratio, bpw, max_error, max_drop)
    settings = replace(vae, seed=seed) if vae is not None else None
    request = Request(preset, target, lossless, adapt, steps, settings, task is not None, bool(include or exclude))
    place = resolve_device(device)
    path = Path(source) if isinstance(source, (str, Path)) else None
    destination = Path(output) if output is not None else _default_destination(path)
    if path is not None and restoring.is_packed(path):
        raise CheckpointError(f"{path}: is a .wz file already; `weightzip restore {path}` gives its checkpoint back")
    origin = checkpoints.Origin.of(path)
    check_output(destination, sources=origin.files, force=force or dry_run)
    job = load_task(task) if isinstance(task, str) else task
    named = {"source": str(path) if path is not None else type(source).__name__, "output": str(destination)}
    with limited_threads(threads), compressing.telling(str(path or "the source")):
        Meter(progress, 1.0).begin("reading")
        model = checkpoints.read(path) if path is not None else checkpoints.from_object(_plain(source))
        if include or exclude:
            model = replace(model, weights=compressing.select(model, _patterns(include), _patterns(exclude)))
        model = model if lossless else keep_structured(model, target.exact_bits(model))
        inputs = Inputs(request, model, job, _measure(job, model) if job is not None else None, seed, place)
        if dry_run:
            told = estimate(inputs, start, **named, progress=progress)
            told["note"] = "; ".join(filter(None, [told["note"], "" if force else _in_the_way(destination)]))
            return told
        made = compressing.compress(inputs, destination, origin, verify=verify, force=force, progress=progress)
    sizes = made.written.section_bytes
    summary = summarise(made.written.header, sizes, **named, seconds=time.monotonic() - start, stored=made.stored)
    summary["metric"] = made.metric
    summary["note"] = made.note
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
    over 64 MiB. output: a file (a folder, where shards were the source) in the source's format, or in the one that its suffix
    (.pt, .safetensors) says.
    Raises a WeightzipError.
    """
    with limited_threads(threads), restoring.opened(file) as opened:
        if tensor is None:
            opened.check_kept(memory)  # before anything is written
        meter = Meter(progress, float(output is not None) + float(tensor is None))
        if output is not None:
            with meter.job("restoring", 1.0) as inner:
                restoring.write(opened, Path(output), tensor, memory, force, inner)
        if tensor is not None:
            return {tensor: opened.tensor(tensor, memory)}
        with meter.job("restoring", 1.0) as inner:
            return opened.state(memory, inner)


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
    """`restore` to a file; by default beside the .wz file, under the source's own name, or under the one tensor's.

    Tensors are written as they are decoded: memory grows with the largest one, not with the checkpoint.
    """
    with limited_threads(threads), restoring.opened(file) as opened:
        destination = Path(output) if output is not None else opened.default_output(tensor)
        return restoring.write(opened, destination, tensor, memory, force, progress)


def sample(
    file: str | Path,
    output: str | Path | None = None,
    *,
    count: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    memory: int | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> list[dict[str, Tensor]]:
    """State dicts drawn from the posterior around a .wz file's model; with `output`, checkpoints are written too.

    The posterior is uniform noise in the cells of the file's latents, as large as what coding left over (`weightzip.sampling`);
    tensors that are stored exactly stay as they are. temperature: what the noise is multiplied by; 0 gives the restored
    weights. seed: draw i of a seed is the same however many are drawn. output: as for `restore`; several draws are called
    name-1, name-2 and so on. memory: bytes that all draws may take.
    Raises UsageError where nothing in the file is lossy, and other WeightzipErrors; then nothing is written.
    """
    draws = Draws(count, temperature, seed)
    with limited_threads(threads), restoring.opened(file) as opened:
        sampling.check(opened, draws)
        sampling.check_kept(opened, draws, memory)  # before anything is written
        meter = Meter(progress, 2.0 if output is not None else 1.0)
        if output is not None:
            with meter.job("sampling", 1.0) as inner:
                sampling.write(opened, Path(output), draws, None, memory, force, inner)
        with meter.job("sampling", 1.0) as inner:
            return sampling.states(opened, draws, inner)


def sample_to(
    file: str | Path,
    output: str | Path | None = None,
    *,
    count: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    task: str | Task | None = None,
    memory: int | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Sampled:
    """`sample` to files; by default beside the .wz file, under the source's own name with -sample before its suffix.

    task: measures the restored weights and every draw, which then is kept in memory while it is measured.
    """
    draws = Draws(count, temperature, seed)
    job = load_task(task) if isinstance(task, str) else task
    with limited_threads(threads), restoring.opened(file) as opened:
        sampling.check(opened, draws)
        with Meter(progress, 1.0).job("sampling", 1.0) as inner:
            return sampling.write(opened, Path(output) if output is not None else None, draws, job, memory, force, inner)


def load_into(module: nn.Module, file: str | Path) -> None:
    """Load the weights of a .wz file, or of any checkpoint, into a module, with whatever else its `load_state_dict` takes.

    A module without memory, made on torch's device "meta", takes the tensors themselves, in the file's dtypes: of a large
    model there never is more than one copy. Any other keeps its own, and its devices and dtypes.
    Raises CheckpointError where keys or shapes do not fit; the module stays as it was.
    """
    state = checkpoints.with_prefix_of(module, read_state(file))
    own = module.state_dict()
    shapes = {key: (_shape(state[key]), _shape(own[key])) for key in own if key in state}
    odd = [key for key, (found, wanted) in shapes.items() if found != wanted]
    try:
        if odd:
            found, wanted = shapes[odd[0]]
            raise RuntimeError(f"{odd[0]} has the shape {found}, where the module has {wanted}")
        for missing, where in ((own.keys() - state.keys(), "the file"), (state.keys() - own.keys(), "the module")):
            if missing:
                raise RuntimeError(f"{where} lacks {', '.join(sorted(missing)[:5])}")
        module.load_state_dict(state, assign=_is_without_memory(own))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file}: does not fit the module: {reason}") from error


def _is_without_memory(state: Mapping[str, object]) -> bool:
    return all(value.is_meta for value in state.values() if isinstance(value, Tensor))


def _shape(value: object) -> list[int] | None:
    """A tensor's; None for what a module keeps besides tensors."""
    return list(value.shape) if isinstance(value, Tensor) else None


def info(file: str | Path) -> Summary:
    """What a .wz file holds and where its bytes went, tensor by tensor; hashes are checked, next to nothing is decoded."""
    start = time.monotonic()
    with restoring.opened(file) as opened:
        opened.container.check()
        return opened.summary(start)


def test(file: str | Path, *, memory: int | None = None, progress: Progress = silent) -> Summary:
    """Check hashes and limits and decode everything; writes nothing. Raises a WeightzipError if the file is not whole."""
    start = time.monotonic()
    with restoring.opened(file) as opened:
        opened.check(memory, progress)
        return opened.summary(start)


def read_state(path: str | Path) -> dict[str, object]:
    """What a module loads, out of any checkpoint or .wz file: `checkpoint.module_state`."""
    if restoring.is_packed(Path(path)):
        with restoring.opened(path) as opened:
            return opened.module_state()
    model = checkpoints.read(Path(path))
    return checkpoints.module_state(model.layout, model.tensors)


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _plain(source: object) -> object:
    """Any mapping as a dict, which is what a state dict's tree is made of."""
    return dict(source) if isinstance(source, Mapping) and not isinstance(source, dict) else source


def _default_destination(path: Path | None) -> Path:
    if path is None or not path.name:
        return Path("model.wz")
    if is_folder(path):  # whose name may have a dot anywhere
        return path.parent / f"{path.resolve().name}.wz"
    if path.name.endswith(checkpoints.INDEX_SUFFIX):
        return path.with_name(f"{path.name.removesuffix(checkpoints.INDEX_SUFFIX) or 'model'}.wz")
    return path.with_suffix(".wz")


def _in_the_way(destination: Path) -> str:
    """What a dry run says of an output that exists."""
    return f"{destination} exists already: without -f the real run will not overwrite it" if destination.exists() else ""


def _measure(job: Task, model: Checkpoint) -> Callable[[dict[str, Tensor]], float]:
    def measure(tensors: dict[str, Tensor]) -> float:
        return evaluate_state(job, checkpoints.module_state(model.layout, tensors))

    return measure
