"""Figures of the paper's findings: losses by epoch, and training time against model size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from weightzip.report.style import Theme, method_style, new_axes
from weightzip.results import AUTO, PAPER, LatentFinding, LinearFit, TrainingTime

if TYPE_CHECKING:
    from weightzip.vae import EpochLosses

_COLOURS = (method_style(AUTO, 0), method_style(PAPER, 0), method_style("Deep Compression", 0))
_WIDTH, _HEIGHT = 4.4, 3.3  # inches; as large on a phone as beside another figure


def draw_losses(findings: Sequence[LatentFinding], theme: Theme) -> Figure:
    """Negative ELBO per chunk (nats) by epoch: training dashed, validation solid, a colour per number of latents.

    The epoch that is kept has a marker, with the gid "best-" and the number of the finding.
    """
    figure, axes = new_axes(theme, _WIDTH, _HEIGHT)
    for number, (finding, style) in enumerate(zip(findings, itertools.cycle(_COLOURS), strict=False)):
        colour = style.colour(theme)
        epochs = [losses.epoch for losses in finding.history]
        training = [losses.training for losses in finding.history]
        validation = [losses.validation for losses in finding.history]
        axes.plot(epochs, training, color=colour, linewidth=1.1, linestyle="--")
        axes.plot(epochs, validation, color=colour, linewidth=2, label=f"latent {finding.latent}")
        best = best_epoch(finding)
        if best is not None:
            axes.plot([best.epoch], [best.validation], "o", color=colour, mec=theme.background, gid=f"best-{number}", zorder=5)
    axes.set_xlabel("epoch", color=theme.ink, fontsize=10)
    axes.set_ylabel("negative ELBO per chunk, nats", color=theme.ink, fontsize=10)
    axes.legend(fontsize=8.5, frameon=False, labelcolor=theme.ink)
    return figure


def best_epoch(finding: LatentFinding) -> EpochLosses | None:
    """The epoch of the smallest validation loss; None without epochs."""
    return min(finding.history, key=lambda losses: losses.validation, default=None)


def draw_times(times: Sequence[TrainingTime], fit: LinearFit, theme: Theme) -> Figure:
    """Seconds per epoch against the number of weights, with the fitted line."""
    figure, axes = new_axes(theme, _WIDTH, _HEIGHT)
    colour = _COLOURS[0].colour(theme)
    largest = max(item.num_weights for item in times)
    ends = np.array([0.0, 1.12 * largest])
    axes.plot(ends, fit.intercept + fit.slope * ends, color=theme.muted, linewidth=1.2, linestyle="--", zorder=1)
    for item in times:
        axes.plot([item.num_weights], [item.seconds_per_epoch], marker="o", markersize=8, color=colour, linestyle="none")
        place = (item.num_weights, item.seconds_per_epoch)
        axes.annotate(item.model, place, xytext=(7, -14), textcoords="offset points", fontsize=9, color=theme.ink)
    axes.set_xlim(0, ends[1] * 1.12)
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k"))
    axes.set_xlabel("weights of the model", color=theme.ink, fontsize=10)
    axes.set_ylabel("seconds per epoch", color=theme.ink, fontsize=10)
    return figure
