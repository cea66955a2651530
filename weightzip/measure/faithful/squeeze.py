"""Size and time of the squeezed family beside those of the convolutional one whose convolutions it replaces."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor, nn

from weightzip.measure.faithful.autoencode import BATCH_SIZE, LATENT, Trained, reconstructed
from weightzip.measure.faithful.pixels import Splits
from weightzip.measure.faithful.rows import Row
from weightzip.measure.faithful.settings import Settings
from weightzip.vae import Family

PART = "squeeze"
_NAMES = ("conv", "squeezed")
_PUBLISHED_TIME, _PUBLISHED_SIZE = 2 / 3, 3 / 4
_ROUNDS = 3
_TIMED = 500  # images


def squeeze_rows(splits: Splits, settings: Settings, trained: dict[str, Trained]) -> Iterator[Row]:
    """Of each measure the figure of either family, and the ratio of the second to the first."""
    models = [trained[name].model for name in _NAMES]
    epoch = len(splits.fitted) / BATCH_SIZE  # steps
    test = splits.test.first(settings.scored).values
    timed = test[:_TIMED]
    figures: dict[str, tuple[list[float], float | None]] = {
        "bytes, encoder and decoder": ([num_bytes(model) for model in models], _PUBLISHED_SIZE),
        "bytes, decoder": ([num_bytes(model.decoder) for model in models], None),
        "seconds, training epoch": ([epoch * trained[name].seconds / trained[name].steps for name in _NAMES], _PUBLISHED_TIME),
        "seconds, 1,000 images": ([1_000 * seconds / len(timed) for seconds in _by_turns(models, timed)], _PUBLISHED_TIME),
        "mean square error": ([float((reconstructed(model, test) - test).square().mean()) for model in models], 1.0),
    }
    seeds = (settings.seed,)
    for measure, (pair, published) in figures.items():
        for name, measured in zip(_NAMES, pair, strict=True):
            item = trained[name]
            yield Row(PART, f"{name}, {LATENT} latents", measure, measured, None, seeds, item.steps, item.seconds)
        yield Row(PART, "squeezed to conv", f"ratio of {measure}", pair[1] / pair[0], published, seeds, 0, 0.0)


def num_bytes(module: nn.Module) -> float:
    """Of its parameters."""
    return float(sum(parameter.numel() * parameter.element_size() for parameter in module.parameters()))


def _by_turns(models: list[Family], values: Tensor) -> list[float]:
    """Seconds of processor time that each takes to reconstruct the images: the least of several rounds."""
    rounds = [[_seconds(model, values) for model in models] for _ in range(_ROUNDS)]
    return [min(column) for column in zip(*rounds, strict=True)]


def _seconds(model: Family, values: Tensor) -> float:
    start = time.process_time()
    reconstructed(model, values)
    return time.process_time() - start
