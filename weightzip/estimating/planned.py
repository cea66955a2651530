"""What is expected of each kind of compression."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, replace

from weightzip.adapt import LAYERWISE_PROBES, settings_for
from weightzip.blocks import cut
from weightzip.checkpoint import Checkpoint
from weightzip.codec import AutoCodec, FamilyCodec, Header, LosslessCodec, PaperCodec, encode, tensor_bytes
from weightzip.codec.auto import BoundedCodec
from weightzip.codec.encoding import lossy_magnitudes
from weightzip.codec.steps import DEFAULT_STEP
from weightzip.codec.targets import COARSEST_STEP, FINEST_STEP, SIZE_PROBES
from weightzip.container import unpack
from weightzip.costs import (
    REQUANTISING,
    coding_memory,
    exact_memory,
    metric_probes,
    searching_memory,
    training_memory,
    training_seconds,
)
from weightzip.errors import TargetError
from weightzip.estimating.coding import Coding, expected_coding, seconds_of_verifying
from weightzip.estimating.sample import QUICK, THOROUGH
from weightzip.interface import JSON
from weightzip.planning import Inputs, plan
from weightzip.progress import Progress, ProgressEvent
from weightzip.search import approach_limit
from weightzip.vae import VAESettings, find_family

SMALL = 1 << 19  # elements of a checkpoint that is coded as it is
_MET = 0.9985  # of a limit: where a search for it ends, on average
_SHORT = 5.0  # seconds of an evaluation
_STEPS_TIMED, _PROBES_TIMED = 5, 1  # of an adaptation; without training, each is a search's probe
_LOOKS = 40  # at the model, while it is trained


@dataclass(frozen=True)
class _Bits:
    """What a latent takes, and a weight of the decoder, as measured on the zoo."""

    latent: float
    decoder: float


_PAPER_BITS, _FAMILY_BITS = _Bits(1.3, 2.4), _Bits(1.9, 0.85)


@dataclass(frozen=True)
class Outlook:
    """What is expected. header: of the file, with its losses. stored: bytes of each tensor, where they are known.

    sections: bytes by name; they sum to the file's. seconds: from the checkpoint in memory to the file. memory_bytes: beyond
    what the program takes before. exact: whether bytes and losses are those of the real run; at_most: whether the bytes are
    only what they usually are at most. note: what remains open.
    """

    header: Header
    stored: dict[str, float] | None
    sections: dict[str, int]
    seconds: float
    memory_bytes: int
    exact: bool = False
    at_most: bool = False
    note: str = ""
    metric: dict[str, JSON] | None = None


def outlook(inputs: Inputs, progress: Progress) -> Outlook:
    """What compressing is expected to come to. Raises what it would, as far as that is known by now."""
    request, model = inputs.request, inputs.model
    if request.adapt != "none":
        return _adapted(inputs, progress)
    if request.target.max_drop is not None:
        return _keeping_metric(inputs, progress)
    if request.preset == "paper":
        return _paper(inputs, progress)
    if sum(tensor.numel() for tensor in model.tensors.values()) <= SMALL:
        return _exact(inputs, progress)
    limit = request.target.limit(model)
    if limit is not None:
        return _sized(inputs, limit, progress)
    chosen = plan(inputs, saved=None, force=False, progress=progress)
    assert isinstance(chosen.codec, (AutoCodec, BoundedCodec, LosslessCodec))  # as without a search there is no other
    magnitudes = {} if request.lossless else lossy_magnitudes(model)
    coding = expected_coding(model, magnitudes, chosen.codec, THOROUGH, max_error=chosen.max_error, progress=progress)
    found = _outlook(inputs, coding, coding.seconds + coding.verifying)
    return replace(found, memory_bytes=exact_memory(_bytes(model))) if request.lossless else found


def _outlook(inputs: Inputs, coding: Coding, seconds: float) -> Outlook:
    """Of a coding that takes so many seconds, evaluations of the task besides."""
    note = "" if inputs.measure is None else "the metric is not known before the file is"
    seconds += 2 * _seconds_of_evaluation(inputs)
    return Outlook(coding.header, coding.stored, coding.sections, seconds, coding_memory(_sizes(inputs.model)), note=note)


def _bytes(model: Checkpoint) -> list[int]:
    return [tensor.nbytes for tensor in model.tensors.values()]


def _sizes(model: Checkpoint) -> list[int]:
    return [tensor.numel() for tensor in model.tensors.values()]


def _seconds_of_evaluation(inputs: Inputs) -> float:
    """Of the original; 0 without a task. The first one may load data, so that a short one is made twice."""
    if inputs.measure is None:
        return 0.0
    seconds = math.inf
    for _ in range(2):
        start = time.perf_counter()
        inputs.measure(dict(inputs.model.tensors))
        seconds = min(seconds, time.perf_counter() - start)
        if seconds > _SHORT:
            break
    return seconds


def _exact(inputs: Inputs, progress: Progress) -> Outlook:
    """The real run in memory, without the file."""
    model = inputs.model
    start = time.perf_counter()
    chosen = plan(inputs, saved=None, force=False, progress=progress)
    coded = encode(model, chosen.codec, progress, max_error=chosen.max_error)
    seconds = time.perf_counter() - start
    metric: dict[str, JSON] | None = None
    begun = time.perf_counter()
    if inputs.measure is not None and inputs.job is not None:
        original, restored = inputs.measure(dict(model.tensors)), inputs.measure(coded.restored)
        metric = {"name": inputs.job.metric, "original": original, "restored": restored}
    seconds += time.perf_counter() - begun
    container = unpack(coded.pack())
    seconds += seconds_of_verifying(container, coded.header)
    stored = tensor_bytes(container, coded.header, "the file")
    memory = coding_memory(_sizes(model))
    return Outlook(coded.header, stored, container.section_bytes, seconds, memory, True, False, chosen.note, metric)


def _sized(inputs: Inputs, limit: float, progress: Progress) -> Outlook:
    """The same search as the real one, on a small sample; then a closer look at the step that it finds."""
    model = inputs.model
    magnitudes = lossy_magnitudes(model)
    tried: list[Coding] = []

    def size(step: float) -> float:
        tried.append(expected_coding(model, magnitudes, AutoCodec(step), QUICK))
        progress(ProgressEvent("searching", len(tried), max(len(tried), SIZE_PROBES), f"step {step:.3g}"))
        return float(tried[-1].file_bytes)

    step = approach_limit(size, limit, start=DEFAULT_STEP, safe=COARSEST_STEP, bold=FINEST_STEP, probes=SIZE_PROBES)
    if step is None:
        least = min(each.file_bytes for each in tried)
        raise TargetError(
            f"{limit:,.0f} bytes are out of reach: the smallest file takes about {least:,}; ask for less with --ratio or --bpw"
        )
    coding = expected_coding(model, magnitudes, AutoCodec(step), THOROUGH, progress=progress)
    wanted = round(_MET * limit) if tried[-1].file_bytes > 0.9 * limit else coding.file_bytes
    seconds = (len(tried) + 1) * coding.seconds + coding.verifying
    return _outlook(inputs, _resized(coding, wanted), seconds)


def _resized(coding: Coding, file_bytes: int) -> Coding:
    """The same with as many bytes, all of which are found or saved where most are."""
    largest = max(coding.sections, key=lambda name: coding.sections[name])
    before = coding.sections[largest]
    after = max(0, before + file_bytes - coding.file_bytes)
    stored = {name: size * after / before for name, size in coding.stored.items()}
    return replace(coding, sections={**coding.sections, largest: after}, stored=stored)


def _default(inputs: Inputs, progress: Progress) -> Coding:
    """At the default quality, which stands for a size that nobody knows yet."""
    return expected_coding(inputs.model, lossy_magnitudes(inputs.model), AutoCodec(), THOROUGH, progress=progress)


def _of_unknown_size(coding: Coding, seconds: float, memory: int) -> Outlook:
    note = (
        "the size follows from the task and is not known before; told is that of the default quality, and where the task bears "
        "it, the file becomes smaller"
    )
    header = replace(coding.header, relative_mse=math.nan, max_abs_error=math.nan)
    return Outlook(header, coding.stored, coding.sections, seconds, memory, at_most=True, note=note)


def _keeping_metric(inputs: Inputs, progress: Progress) -> Outlook:
    """One evaluation, times as many as a search usually takes."""
    coding = _default(inputs, progress)
    each = _seconds_of_evaluation(inputs)
    probes = metric_probes(inputs.model.tensors)
    seconds = probes * (each + REQUANTISING * coding.seconds) + 2 * each
    memory = searching_memory(sum(_sizes(inputs.model)))
    return _of_unknown_size(coding, seconds, memory)


class _Enough(Exception):  # noqa: N818 - no error
    """Ends an adaptation whose first steps have been timed."""


def _adapted(inputs: Inputs, progress: Progress) -> Outlook:
    """An adaptation as it begins, a few of its steps, and one look at the model, times as many as there will be."""
    coding = _default(inputs, progress)
    each = _seconds_of_evaluation(inputs)
    trained = settings_for(inputs.request.adapt, inputs.request.steps).steps
    steps, timed = (trained, _STEPS_TIMED) if trained else (LAYERWISE_PROBES, _PROBES_TIMED)
    times: list[float] = []

    def watch(event: ProgressEvent) -> None:
        times.append(time.perf_counter())
        if len(times) > timed:
            raise _Enough

    start = time.perf_counter()
    with contextlib.suppress(_Enough):
        plan(inputs, saved=None, force=False, progress=watch)
    beginning = times[0] - start if times else time.perf_counter() - start
    step = (times[-1] - times[0]) / max(1, len(times) - 1) if times else 0.0
    looks = min(_LOOKS, trained) * (each + coding.seconds)
    memory = training_memory(sum(_sizes(inputs.model)))
    seconds = beginning + steps * step + looks + coding.seconds + coding.verifying + 2 * each
    return _of_unknown_size(coding, seconds, memory)


def _paper(inputs: Inputs, progress: Progress) -> Outlook:
    """From the sizes of the network, as no training can be cut short; a family's residuals take what the default codec does."""
    model, settings = inputs.model, inputs.request.vae or VAESettings(seed=inputs.seed)
    coding = _default(inputs, progress)
    lossy = [name for name in model.tensors if name not in coding.header.exact]
    if not lossy:
        return _outlook(inputs, coding, coding.seconds + coding.verifying)
    weights = sum(model.tensors[name].numel() for name in lossy)
    chunks = cut({name: model.dense(name) for name in lossy}, settings.chunk)
    hidden = settings.hidden or find_family(settings.family).hidden_for(chunks.values, settings.latent)
    published = settings.family == PaperCodec.family
    bits = _PAPER_BITS if published else _FAMILY_BITS
    latents = settings.latent * len(chunks.values)
    sections = {
        "latents": round(latents * bits.latent / 8),
        "decoder": round(((hidden + 1) * settings.chunk + (settings.latent + 1) * hidden) * bits.decoder / 8),
    }
    kept = {name: size for name, size in coding.sections.items() if name in ("header", "exact")}
    if not published:
        sections["residuals"] = coding.file_bytes - sum(kept.values())
    codec = PaperCodec if published else FamilyCodec
    header = replace(coding.header, codec=codec.name, latents=latents, relative_mse=math.nan, max_abs_error=math.nan)
    seconds = training_seconds(weights, settings) + coding.seconds + 2 * _seconds_of_evaluation(inputs)
    note = "a rough guess from the sizes of the network; what it loses is not known before it is trained"
    return Outlook(header, None, {**kept, **sections}, seconds, training_memory(weights), note=note)
