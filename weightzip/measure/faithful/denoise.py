"""Denoising: a dense and two convolutional networks, trained to find clean images in noisy ones.

PSNR in decibels, over all images, and the mean SSIM (Wang et al. 2004, windows of 7 pixels), both against the clean images.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from weightzip.measure.faithful.autoencode import LATENT, STRIDED, denoisers, noisy, reconstructed
from weightzip.measure.faithful.pixels import SIDE, Splits
from weightzip.measure.faithful.rows import Row
from weightzip.measure.faithful.settings import Settings
from weightzip.progress import Progress

PART = "denoise"
_PUBLISHED = 0.2  # per cent, at most, one way or the other


def denoise_rows(splits: Splits, settings: Settings, progress: Progress) -> Iterator[Row]:
    """PSNR and SSIM of the noisy test images as they are, and as each network sees them; then how far these are apart."""
    clean = splits.test.first(settings.scored).values
    given = noisy(clean, settings.noise, torch.Generator().manual_seed(settings.seed))
    trained = denoisers(splits, settings, progress)
    found = {name: quality(reconstructed(item.model, given), clean) for name, item in trained.items()}
    steps, seconds = sum(item.steps for item in trained.values()), sum(item.seconds for item in trained.values())

    def row(setting: str, measure: str, measured: float, published: float | None = None) -> Row:
        return Row(PART, setting, measure, measured, published, (settings.seed,), steps, seconds)

    for index, measure in enumerate(("PSNR, dB", "SSIM")):
        yield row("noisy images", measure, quality(given, clean)[index])
        for name in trained:
            yield row(f"{name}, {LATENT} latents", measure, found[name][index])
        for name in (STRIDED, "conv"):
            beyond = 100 * (found[name][index] / found["dense"][index] - 1)
            yield row(f"{name} beyond dense", f"% of {measure.partition(',')[0]}", beyond, _PUBLISHED)


def quality(images: Tensor, clean: Tensor) -> tuple[float, float]:
    """PSNR in decibels and mean SSIM of images [n, 784] against clean ones."""
    truth, found = clean.numpy(), images.numpy()
    ratio = peak_signal_noise_ratio(truth, found, data_range=1.0)  # type: ignore[no-untyped-call]
    similar = [_similarity(*pair) for pair in zip(truth, found, strict=True)]
    return float(ratio), statistics.fmean(similar)


def _similarity(clean: NDArray[np.float32], image: NDArray[np.float32]) -> float:
    """The SSIM of an image [784]."""
    pair = (clean.reshape(SIDE, SIDE), image.reshape(SIDE, SIDE))
    return float(structural_similarity(*pair, data_range=1.0))  # type: ignore[no-untyped-call]
