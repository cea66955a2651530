"""The curve on the page: every point a link to its row, with its numbers for hovering and for reading aloud."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from markupsafe import Markup

from weightzip.metric import Metric
from weightzip.report import words
from weightzip.report.inline import InlineFigure
from weightzip.report.plot import draw_curve, draw_key
from weightzip.report.result import Report
from weightzip.report.style import LIGHT
from weightzip.results import Point, by_method

_WIDE, _NARROW = (9.0, 5.2), (3.9, 4.2)  # inches: beside each other the same picture for a desk and for a phone
_REACH = "10"  # around a marker, what counts as the marker


@dataclass(frozen=True)
class Key:
    """A method in the legend. number: the `data-method` of what is drawn of it. sample: its line and marker."""

    method: str
    number: int
    sample: Markup


@dataclass(frozen=True)
class Curve:
    """wide, narrow: the same curve in two sizes, of which the page shows the one that fits."""

    wide: Markup
    narrow: Markup
    keys: tuple[Key, ...]


def page_curve(report: Report) -> Curve:
    """The curve of all points of a report."""
    methods = list(by_method(report.points))
    keys = []
    for number, method in enumerate(methods):
        sample = InlineFigure(draw_key(method, number, LIGHT)).markup(f"key-{number}", aria_hidden="true", focusable="false")
        keys.append(Key(method, number, sample))
    return Curve(_drawn(report, methods, "wide", _WIDE), _drawn(report, methods, "narrow", _NARROW), tuple(keys))


def _drawn(report: Report, methods: list[str], name: str, inches: tuple[float, float]) -> Markup:
    figure = InlineFigure(draw_curve(report.points, report.metric, LIGHT, *inches))
    for number in range(len(methods)):
        _label(figure.find(f"line-{number}"), "line", number)
    for number, point in enumerate(report.points):
        method = methods.index(point.method)
        _label(figure.find(f"joint-{number}"), "line", method)
        for kind in ("point", "latents"):
            group = figure.find(f"{kind}-{number}")
            if group is not None:
                _label(group, "point", method)
                make_link(group, f"#point-{number}", *_tip(point, report.metric))
    what = f"{report.metric.name} against how many times smaller the whole file is"
    told = f"{what}, a line for each of {len(methods)} methods. The table of all points has the same numbers."
    return figure.markup(name, **{"class": f"plot {name}"}, role="group", aria_label=told)


def _tip(point: Point, metric: Metric) -> tuple[str, ...]:
    lines = (point.title, words.smaller(point), words.outcome(point, metric))
    if point.latent_ratio is None:
        return lines
    return (*lines, f"latents only, the paper's accounting: {words.ratio(point.latent_ratio)}")


def _label(group: Element | None, kind: str, method: int) -> None:
    if group is not None:
        group.set("class", kind)
        group.set("data-method", str(method))


def make_link(group: Element, target: str, *lines: str) -> None:
    """Make the group of a single marker a link with a wide edge. lines: of its tooltip, the first one its title."""
    group.tag = "a"
    group.set("href", target)
    add_tip(group, *lines)


def add_tip(group: Element, *lines: str) -> None:
    """Give the group of a single marker a tooltip and a wide edge to point at."""
    mark = next(group.iter("use"))
    for path in group.findall("path"):  # the line of a single point, of no length
        group.remove(path)
    group.set("aria-label", ". ".join(lines))
    group.set("data-tip", "\n".join(lines))
    SubElement(group, "circle", {"class": "reach", "cx": mark.get("x", ""), "cy": mark.get("y", ""), "r": _REACH})
    SubElement(group, "title").text = "\n".join(lines)  # without the page's script, the browser's own tooltip
