"""The HTML page: one file that needs nothing beside it, for a desk, a phone and paper, light and dark.

Its script and its style sheet are fixed by their hashes, so that nothing else can run, whatever names a checkpoint brings.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weightzip.report import where, words
from weightzip.report.curve import page_curve
from weightzip.report.findings import page_losses, page_times
from weightzip.report.histogram import HEIGHT
from weightzip.report.result import Report
from weightzip.report.style import DARK, LIGHT, css_variables
from weightzip.results import OWN, Point, by_method, smallest_within

_ASSETS = "assets"


def render(report: Report) -> str:
    """The whole page. Everything that comes from outside (names of files, tasks, tensors, methods) is escaped."""
    environment = Environment(
        loader=PackageLoader("weightzip.report", _ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(value=report.metric.format, change=report.metric.format_change)
    environment.filters.update(ratio=words.ratio, short=words.short, breakable=words.breakable)
    style, script = Inline.of(_style()), Inline.of(_asset("page.js"))
    points, summary = by_method(report.points), _summary(report)
    told_first = sorted(report.files, key=lambda stored: stored.point != summary.point)  # the file that the summary tells of
    return environment.get_template("page.html.j2").render(
        report=report,
        results=report.results,
        style=style,
        script=script,
        summary=summary,
        best=_best_rows(report),
        paper=next((stored for stored in report.files if stored.point.latent_ratio), None),
        rows=[(report.points.index(point), point) for own in points.values() for point in own],
        curve=page_curve(report),
        files=[where.file_view(number, stored) for number, stored in enumerate(told_first)],
        strip=where.STRIP,
        first_histograms=where.FIRST_HISTOGRAMS,
        histogram_height=HEIGHT,
        losses=page_losses(report.study.latents) if report.study.latents else None,
        times=page_times(report.study.times, report.study.fit) if report.study.fit else None,
        own_methods=OWN,
        date=datetime.now(timezone.utc).date().isoformat(),
    )


@dataclass(frozen=True)
class Inline:
    """A script or a style sheet within the page. source: what a Content-Security-Policy calls it, its hash."""

    text: Markup
    source: str

    @staticmethod
    def of(text: str) -> Inline:
        """text: this package's own, never anything from outside."""
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return Inline(Markup(text), f"'sha256-{digest}'")  # noqa: S704


def _asset(name: str) -> str:
    return (resources.files("weightzip.report") / _ASSETS / name).read_text(encoding="utf-8")


def _style() -> str:
    """The figures' colours in both themes, then the style sheet."""
    light, dark = (_declarations(css_variables(theme)) for theme in (LIGHT, DARK))
    themes = f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    return themes + _asset("page.css")


def _declarations(variables: dict[str, str]) -> str:
    return " ".join(f"{name}: {colour};" for name, colour in variables.items())


@dataclass(frozen=True)
class BestRow:
    """A method's smallest file within the tolerance; None: no setting is.

    number: of the point in the report. width: of its bar, in percent of the longest.
    """

    method: str
    point: Point | None
    number: int
    width: float


def _best_rows(report: Report) -> list[BestRow]:
    """One row per method, smallest file first."""
    best = {method: smallest_within(own, report.tolerance) for method, own in by_method(report.points).items()}
    longest = max((point.ratio for point in best.values() if point), default=0.0) or 1.0
    rows = [
        BestRow(method, point, report.points.index(point) if point else -1, 100 * point.ratio / longest if point else 0.0)
        for method, point in best.items()
    ]
    return sorted(rows, key=lambda row: -row.width)


@dataclass(frozen=True)
class Summary:
    """The result in one sentence, and more. loss, size: further parts of the sentence. point: what it is about.

    Where nothing is good enough, the headline says so, and there is no more.
    """

    point: Point | None
    headline: str
    loss: str
    size: str
    more: str


def _summary(report: Report) -> Summary:
    """The smallest lossy file of this package that loses little; of others where none of this package was measured."""
    metric, within = report.metric, report.metric.tolerance_words(report.original)
    lossy = report.lossy
    best = smallest_within(lossy or report.points, report.tolerance)
    if best is None:
        whose, original = "lossy setting of weightzip" if lossy else "setting", metric.format(report.original)
        headline = f"No {whose} keeps {metric.name} within {within} of the original's {original}."
        return Summary(None, headline, "", "", "")
    more = (
        f"{report.model} goes from {report.results.input_bytes:,} to {best.file_bytes:,} bytes with {best.title}, "
        f"and {metric.name} from {metric.format(report.original)} to {metric.format(best.value)}."
    )
    headline, lost = words.times_smaller(best.ratio), metric.loss_words(best.value - best.original)
    return Summary(best, headline, lost, words.size(best.file_bytes), f"{more} {_rivals(report, within) if lossy else ''}")


def _rivals(report: Report, within: str) -> str:
    """What the other methods come to; nothing where none was measured."""
    points = [point for point in report.points if point.method not in OWN]
    best = smallest_within(points, report.tolerance)
    if best is None:
        return f"No other method stays within {within}." if points else ""
    return f"The best of the other methods within {within} is {best.method} at {words.ratio(best.ratio)}."
