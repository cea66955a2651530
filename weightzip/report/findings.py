"""The figures of the paper's findings on the page, with what they show in words."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from weightzip.report.curve import add_tip
from weightzip.report.inline import InlineFigure
from weightzip.report.study_plots import best_epoch, draw_losses, draw_times
from weightzip.report.style import LIGHT
from weightzip.results import LatentFinding, LinearFit, TrainingTime


def page_losses(findings: Sequence[LatentFinding]) -> Markup:
    """Losses by epoch; the epoch that is kept has a tooltip."""
    figure = InlineFigure(draw_losses(findings, LIGHT))
    told = []
    for number, finding in enumerate(findings):
        best, group = best_epoch(finding), figure.find(f"best-{number}")
        if best is None:
            continue
        title = f"latent {finding.latent}, epoch {best.epoch} of {len(finding.history)}, which is kept"
        told.append(f"{title}: validation {best.validation:.1f} nats")
        if group is not None:
            group.set("class", "point")
            add_tip(group, title, f"training {best.training:.1f} nats, validation {best.validation:.1f} nats")
    label = f"Training and validation loss by epoch. {'; '.join(told)}."
    return figure.markup("losses", **{"class": "plot"}, role="img", aria_label=label)


def page_times(times: Sequence[TrainingTime], fit: LinearFit) -> Markup:
    """Training time against model size."""
    told = "; ".join(f"{item.model}, {item.num_weights:,} weights: {item.seconds_per_epoch:.3f}" for item in times)
    label = f"Seconds per epoch against the number of weights, with a fitted line. {told}."
    return InlineFigure(draw_times(times, fit, LIGHT)).markup("times", **{"class": "plot"}, role="img", aria_label=label)
