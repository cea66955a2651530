"""The findings of Cheng et al. (2024), repeated: fewer latents, losses by epoch, training time against model size."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from weightzip import checkpoint as checkpoints
from weightzip.codec import PaperCodec
from weightzip.costs import training_seconds
from weightzip.measure.bench import Measured
from weightzip.progress import Meter, Progress, ProgressEvent
from weightzip.results import LatentFinding, LinearFit, TrainingTime
from weightzip.vae import EpochLosses, VAESettings
from weightzip.zoo import entry, names

PAPER_MODELS = names()[:4]
_TIMED_EPOCHS = 6
_TIMED_HIDDEN = 64  # the same network for every model, as in the paper; the preset itself fits the width to the model


def latent_findings(measured: Sequence[Measured]) -> tuple[LatentFinding, ...]:
    """Most latents first. measured: files of the paper's codec; one of a checkpoint without weights says nothing."""
    found = [
        LatentFinding(
            latent=measurement.header.meta["latent"],
            hidden=measurement.header.meta["hidden"],
            point=measurement.point,
            history=tuple(EpochLosses(**epoch) for epoch in measurement.notes["history"]),
            float_decoder_value=measurement.float_decoder_value,
        )
        for measurement in measured
        if measurement.header.codec == PaperCodec.name
    ]
    return tuple(sorted(found, key=lambda finding: -finding.latent))


def timing_settings(vae: VAESettings) -> VAESettings:
    """A few epochs of one and the same network."""
    return replace(vae, epochs=_TIMED_EPOCHS, patience=_TIMED_EPOCHS, hidden=_TIMED_HIDDEN)


def timing_seconds(vae: VAESettings) -> float:
    """Roughly how long `training_times` takes."""
    return sum(training_seconds(entry(name).num_weights, timing_settings(vae)) for name in PAPER_MODELS)


def training_times(vae: VAESettings, device: str, meter: Meter) -> tuple[TrainingTime, ...]:
    """Train a VAE for a few epochs on each of the paper's four models, smallest first."""
    settings = timing_settings(vae)
    times = []
    for item in sorted(map(entry, PAPER_MODELS), key=lambda item: item.num_weights):
        weights = checkpoints.read(item.checkpoint).tensors
        with meter.job(f"timing the VAE on {item.name}", training_seconds(item.num_weights, settings)) as inner:
            seconds = _fastest_epoch(weights, PaperCodec(settings, device=device), inner)
        times.append(TrainingTime(item.name, item.num_weights, seconds))
    return tuple(times)


def _fastest_epoch(weights: Mapping[str, Tensor], codec: PaperCodec, progress: Progress) -> float:
    """Seconds; the first epoch warms up, and the fastest of the others is the one least disturbed by other work."""
    clock = time.process_time if codec.device == "cpu" else time.perf_counter
    ends: list[float] = []

    def watch(event: ProgressEvent) -> None:
        ends.append(clock())
        progress(event)

    codec.encode(weights, watch)
    return float(np.diff(ends).min())


def linear_fit(times: Sequence[TrainingTime]) -> LinearFit | None:
    """Seconds per epoch against the number of weights; None for fewer than three models."""
    if len(times) < 3:
        return None
    weights = np.array([item.num_weights for item in times], np.float64)
    seconds = np.array([item.seconds_per_epoch for item in times])
    slope, intercept = np.polyfit(weights, seconds, 1)
    left = np.square(seconds - (intercept + slope * weights)).sum()
    return LinearFit(float(intercept), float(slope), float(1 - left / np.square(seconds - seconds.mean()).sum()))
