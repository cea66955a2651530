"""Every VAE family on one checkpoint, at equal bytes of the whole file, and the default codec beside them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from weightzip.checkpoint import Checkpoint
from weightzip.codec import AutoCodec, FamilyCodec, section_kind
from weightzip.codec.encoding import file_size, lossy_magnitudes
from weightzip.codec.family_fit import FittedFamily, fit
from weightzip.errors import TargetError
from weightzip.interface import Codec, Payload, TensorSpec
from weightzip.measure.bench import Bench
from weightzip.measure.jobs import Job
from weightzip.progress import MEASURING, Meter, Progress, silent
from weightzip.results import AUTO, FamilyRow
from weightzip.search import approach_limit
from weightzip.vae import FAMILIES, Batch, VAESettings
from weightzip.vae.perturb import perturb

_FINEST, _COARSEST, _START = 0.005, 8.0, 0.5  # steps of residuals
_PROBES = 8
_SECONDS = {"conv": 100.0, "squeezed": 50.0}  # of training on 200,000 weights, for the progress bar; others take about 30
_OTHER_SECONDS = 30.0
_DENOISED = 4096  # blocks whose perturbed copies are looked at, at most


@dataclass(frozen=True)
class _At:
    """A trained family at one step: a codec that does not train again."""

    fitted: FittedFamily
    step: float
    name: ClassVar[str] = FamilyCodec.name

    def encode(self, tensors: Mapping[str, Tensor], progress: Progress = silent) -> Payload:
        """The payload of the tensors that the family was trained on."""
        return self.fitted.encode(self.step)

    @staticmethod
    def decode(payload: Payload, specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
        """As FamilyCodec's."""
        return FamilyCodec.decode(payload, specs)


def compare_families(
    model: Checkpoint, bench: Bench, file_bytes: int, *, seed: int, device: str, progress: Progress
) -> Iterator[FamilyRow]:
    """A row for the default codec, then one for each family, each at the largest size of at most `file_bytes`.

    Raises TargetError where even the default codec has no file so small.
    """
    meter = Meter(progress, _OTHER_SECONDS / 10 + sum(_SECONDS.get(name, _OTHER_SECONDS) for name in FAMILIES), MEASURING)
    with meter.job(AUTO, _OTHER_SECONDS / 10) as inner:
        row = _default_row(model, bench, file_bytes, inner)
    if row is None:
        raise TargetError(f"there is no file of at most {file_bytes:,} bytes; ask for a smaller --ratio")
    yield row
    tensors = {name: model.dense(name).float() for name in lossy_magnitudes(model)}
    for name in FAMILIES:
        with meter.job(f"family {name}", _SECONDS.get(name, _OTHER_SECONDS)) as inner:
            clock = time.process_time if device == "cpu" else time.perf_counter
            start = clock()
            fitted = fit(tensors, VAESettings.of(name, seed=seed), device, inner)
            yield _family_row(model, bench, file_bytes, fitted, clock() - start, inner)


def _default_row(model: Checkpoint, bench: Bench, file_bytes: int, progress: Progress) -> FamilyRow | None:
    step = _step_for(model, AutoCodec, file_bytes)
    if step is None:
        return None
    empty = FamilyRow(AUTO, original=bench.original, denoising_gain_db=None, training_seconds=0.0)
    return _measured(bench, Job(AUTO, f"step {step:g}", AutoCodec(step), 0.0), empty, ("transforms", "", "symbols"), progress)


def _family_row(
    model: Checkpoint, bench: Bench, file_bytes: int, fitted: FittedFamily, training_seconds: float, progress: Progress
) -> FamilyRow:
    family = fitted.header.family
    empty = FamilyRow(
        family,
        original=bench.original,
        denoising_gain_db=denoising_gain(fitted),
        training_seconds=training_seconds,
        decoder_bytes=min(len(decoder.data) for decoder in fitted.decoders),
        latent_bytes=len(fitted.latents),
    )
    step = _step_for(model, lambda step: _At(fitted, step), file_bytes)
    if step is None:
        return empty
    job = Job(family, f"step {step:g}", _At(fitted, step), 0.0)
    return _measured(bench, job, empty, ("decoder", "latents", "residuals"), progress)


def _measured(bench: Bench, job: Job, row: FamilyRow, kinds: tuple[str, str, str], progress: Progress) -> FamilyRow:
    """The row, filled in by what the file on disk is. kinds: of the sections of decoder, latents and residuals."""
    found = bench.measure(job, progress)
    point, sizes = found.point, Counter[str]()
    for name, size in found.section_bytes.items():
        sizes[section_kind(name)[0]] += size
    decoder, latents, residuals = (sizes[kind] for kind in kinds)
    return replace(
        row,
        file_bytes=point.file_bytes,
        ratio=point.ratio,
        value=point.value,
        relative_mse=point.relative_mse,
        encode_seconds=point.seconds,
        decoder_bytes=decoder,
        latent_bytes=latents,
        residual_bytes=residuals,
    )


def _step_for(model: Checkpoint, codec: Callable[[float], Codec], file_bytes: int) -> float | None:
    """The finest step whose whole file is at most `file_bytes`; None where there is none."""

    def size(step: float) -> float:
        return float(file_size(model, codec(step)))

    return approach_limit(size, file_bytes, start=_START, safe=_COARSEST, bold=_FINEST, probes=_PROBES)


@torch.no_grad()
def denoising_gain(fitted: FittedFamily) -> float:
    """Decibels by which reconstructions of perturbed copies are nearer to the clean weights than the copies are."""
    settings = VAESettings.of(fitted.header.family)
    generator = torch.Generator().manual_seed(settings.seed + 2)  # neither training's nor validation's
    noisy_error = denoised_error = 0.0
    for number, (_, batch) in enumerate(fitted.blocks.in_order(fitted.family.frames, 1024)):
        if number * 1024 >= _DENOISED:
            break
        noisy = perturb(batch.blocks, noise=settings.noise, noisy_fraction=settings.noisy_fraction, generator=generator)
        noisy_error += _error(noisy, batch)
        denoised_error += _error(fitted.family.predict(batch.with_blocks(noisy)).mean, batch)
    return float(10 * torch.log10(torch.tensor(noisy_error / denoised_error)))


def _error(blocks: Tensor, clean: Batch) -> float:
    return float((blocks - clean.blocks)[clean.present].double().square().sum())
