"""Figures as SVG within the page: text, variables in place of colours, nothing that needs a style attribute."""

import re
from xml.etree import ElementTree

import pytest

from weightzip.report.curve import add_tip, make_link
from weightzip.report.inline import InlineFigure
from weightzip.report.style import DARK, LIGHT, css_variables, method_style, new_axes
from weightzip.results import AUTO

HOSTILE = '</text><script>"&\x07'


@pytest.fixture
def figure():
    figure, axes = new_axes(LIGHT, 4.0, 3.0)
    axes.plot([1, 2], [1, 2], color=method_style(AUTO, 0).light, gid="line")
    axes.plot([1], [1], "o", color=method_style(AUTO, 0).light, gid="mark")
    axes.set_ylabel(HOSTILE, color=LIGHT.ink)
    return InlineFigure(figure)


def test_colours_are_variables_of_both_themes(figure):
    markup = figure.markup("a")
    assert "style=" not in markup
    assert not re.search(r"#[0-9a-f]{6}", markup)
    used = set(re.findall(r"var\((--\w+)\)", markup))
    assert {"--ink", "--background", "--c0067b1"} <= used
    assert used <= set(css_variables(LIGHT))
    assert css_variables(LIGHT).keys() == css_variables(DARK).keys()
    assert css_variables(DARK)["--c0067b1"] == method_style(AUTO, 0).dark


def test_text_is_text_and_stays_within(figure):
    root = ElementTree.fromstring(figure.markup("a"))
    assert HOSTILE.replace("\x07", "\ufffd") in [element.text for element in root.iter("text")]
    assert "script" not in {element.tag for element in root.iter()}


def test_two_figures_share_no_ids(figure):
    first, second = (set(re.findall(r' id="([^"]+)"', figure.markup(name))) for name in ("a", "b"))
    assert first
    assert not first & second


def test_what_refers_to_a_part_finds_it(figure):
    markup = figure.markup("a")
    referred = set(re.findall(r'url\(#([^)]+)\)|<use href="#([^"]+)"', markup))
    assert {one or other for one, other in referred} == set(re.findall(r' id="([^"]+)"', markup))


def test_a_mark_becomes_a_link_with_a_tip(figure):
    make_link(figure.find("mark"), "#row", "a title", HOSTILE[:-1])
    root = ElementTree.fromstring(figure.markup("a", aria_label="what"))
    assert root.get("aria-label") == "what"
    (link,) = root.iter("a")
    assert link.get("href") == "#row"
    assert link.get("data-tip") == f"a title\n{HOSTILE[:-1]}"
    circle, use = next(link.iter("circle")), next(link.iter("use"))
    assert (circle.get("cx"), circle.get("cy")) == (use.get("x"), use.get("y"))


def test_what_was_not_drawn_is_not_found(figure):
    assert figure.find("nothing") is None
    with pytest.raises(StopIteration):
        add_tip(figure.find("line"), "a line has no marker")
