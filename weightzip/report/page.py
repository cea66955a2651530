"""The HTML page: one file that needs nothing beside it, readable on a phone, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from weightzip.report.plot import draw_points
from weightzip.report.result import Report
from weightzip.report.study_plots import draw_losses, draw_times
from weightzip.report.style import DARK, LIGHT, Theme, to_svg
from weightzip.results import LOSSLESS, OWN, Point, by_method, smallest_within

_SECTIONS = {
    "header": "names, shapes, settings, the hash of every section",
    "latents": "the posterior means of the chunks; all that the paper counts",
    "decoder": "the VAE's decoder, without which the latents mean nothing",
    "steps": "the size of a quantisation step, per tensor",
    "scales": "how spread out the weights of each row and column are",
    "symbols": "the quantised weights, entropy coded",
    "exact": "tensors that are kept bit for bit",
}


def render(report: Report) -> str:
    """The whole page. Everything that comes from outside (names of files, tasks, methods) is escaped."""
    environment = Environment(
        loader=PackageLoader("weightzip.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(value=report.metric.format, change=report.metric.format_change, ratio=_ratio)
    return environment.get_template("page.html.j2").render(
        report=report,
        summary=_summary(report),
        best=_best_rows(report),
        paper=next((stored for stored in report.files if stored.point.latent_ratio), None),
        methods=by_method(report.points),
        curve=_themed(lambda theme: draw_points(report.points, "", report.metric, theme)),
        **_study_figures(report),
        own_methods=OWN,
        sections=_SECTIONS,
        results=report.results,
        date=datetime.now(timezone.utc).date().isoformat(),
    )


@dataclass(frozen=True)
class BestRow:
    """A method's smallest file within the tolerance (None: no setting is); width: of its bar, in percent of the longest."""

    method: str
    point: Point | None
    width: float


def _best_rows(report: Report) -> list[BestRow]:
    """One row per method, smallest file first."""
    best = {method: smallest_within(own, report.tolerance) for method, own in by_method(report.points).items()}
    longest = max((point.ratio for point in best.values() if point), default=1.0)
    rows = [BestRow(method, point, 100 * point.ratio / longest if point else 0.0) for method, point in best.items()]
    return sorted(rows, key=lambda row: -row.width)


def _summary(report: Report) -> str:
    """The result in one sentence."""
    metric, words = report.metric, report.metric.tolerance_words(report.original)
    lossy = [point for point in report.points if point.method in OWN and point.method != LOSSLESS]
    own = smallest_within(lossy, report.tolerance)
    others = smallest_within([point for point in report.points if point.method not in OWN], report.tolerance)
    if own is None:
        original = metric.format(report.original)
        return f"No lossy setting of weightzip keeps {metric.name} within {words} of the original's {original}."
    sentence = (
        f"{own.ratio:.1f}x smaller, every byte counted: {report.model} goes from {report.results.input_bytes:,} to "
        f"{own.file_bytes:,} bytes, and {metric.name} from {metric.format(report.original)} to {metric.format(own.value)}"
    )
    if others is None:
        return f"{sentence}; no other method stays within {words}."
    return f"{sentence}; the best of the other methods within {words} is {others.method} at {others.ratio:.1f}x."


def _study_figures(report: Report) -> dict[str, Picture | None]:
    study = report.study
    fit = study.fit
    return {
        "losses": _themed(lambda theme: draw_losses(study.latents, theme)) if study.latents else None,
        "times": _themed(lambda theme: draw_times(study.times, fit, theme)) if fit else None,
    }


@dataclass(frozen=True)
class Picture:
    """A figure as data URIs, for either theme."""

    light: str
    dark: str


def _themed(draw: Callable[[Theme], Figure]) -> Picture:
    return Picture(_data_uri(draw(LIGHT)), _data_uri(draw(DARK)))


def _data_uri(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(to_svg(figure)).decode()


def _ratio(value: float | None) -> str:
    return f"{value:.2f}x" if value is not None and value < 2 else "" if value is None else f"{value:.1f}x"
