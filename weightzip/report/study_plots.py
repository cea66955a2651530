"""Figures of the paper's findings: losses by epoch, and training time against model size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from weightzip.report.style import Theme, new_axes
from weightzip.results import LatentFinding, LinearFit, TrainingTime

_LIGHT = ("#0067b1", "#d1520a", "#008f68")
_DARK = ("#58b0ff", "#ff9248", "#35d3a2")


def draw_losses(findings: Sequence[LatentFinding], theme: Theme) -> Figure:
    """Negative ELBO per chunk (nats) by epoch: training dashed, validation solid, a colour per number of latents."""
    figure, axes = new_axes(theme, 5.6, 4.0)
    for finding, colour in zip(findings, _DARK if theme.dark else _LIGHT, strict=False):
        epochs = [losses.epoch for losses in finding.history]
        training = [losses.training for losses in finding.history]
        validation = [losses.validation for losses in finding.history]
        axes.plot(epochs, training, color=colour, linewidth=1.1, linestyle="--", label=f"latent {finding.latent}, training")
        axes.plot(epochs, validation, color=colour, linewidth=2, label=f"latent {finding.latent}, validation")
    axes.set_xlabel("epoch", color=theme.ink, fontsize=10)
    axes.set_ylabel("negative ELBO per chunk, nats", color=theme.ink, fontsize=10)
    axes.legend(fontsize=8.5, frameon=False, labelcolor=theme.ink)
    return figure


def draw_times(times: Sequence[TrainingTime], fit: LinearFit, theme: Theme) -> Figure:
    """Seconds per epoch against the number of weights, with the fitted line."""
    figure, axes = new_axes(theme, 5.6, 4.0)
    colour = (_DARK if theme.dark else _LIGHT)[0]
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
