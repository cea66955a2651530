"""Figures as SVG within the page: text stays text, colours are the page's variables, and nothing needs a style attribute.

One drawing then serves light and dark, screen and print, and a page whose style sheet is fixed by its hash.
"""

from __future__ import annotations

import re
from io import BytesIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from weightzip.report.style import any_letters, variable

_NAMESPACE = re.compile(r"\{[^}]*\}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PAGE_SAYS = ("font-family", "stroke-dashoffset")  # the page has a font of its own; an offset of 0 says nothing


class InlineFigure:
    """A figure as a tree of SVG elements. Artists with a gid are found by it."""

    def __init__(self, figure: Figure) -> None:
        self._root = _parse(figure)
        self._groups = {element.get("id", ""): element for element in self._root.iter("g")}

    def find(self, gid: str) -> Element | None:
        """The group of an artist; None where it was not drawn."""
        return self._groups.get(gid)

    def markup(self, prefix: str, **attributes: str) -> Markup:
        """The SVG; ids get the prefix, so that a page may hold several figures, and attributes go to the root."""
        referred = set()
        for element in self._root.iter():
            for key, value in element.items():
                if key == "href" and value.startswith("#") and element.tag == "use":
                    referred.add(value[1:])
                    element.set(key, f"#{prefix}-{value[1:]}")
                elif match := _REFERENCE.fullmatch(value):
                    referred.add(match[1])
                    element.set(key, f"url(#{prefix}-{match[1]})")
        for element in self._root.iter():
            name = element.attrib.pop("id", None)
            if name in referred:
                element.set("id", f"{prefix}-{name}")
        self._root.attrib.update({key.replace("_", "-"): value for key, value in attributes.items()})
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))  # noqa: S704 - ElementTree escapes


def _parse(figure: Figure) -> Element:
    buffer = BytesIO()
    # Without these, ids differ from run to run, and text is outlines.
    with any_letters(), matplotlib.rc_context({"svg.hashsalt": "weightzip", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _NO_XML.sub("\ufffd", buffer.getvalue().decode("utf-8", errors="replace"))
    root = ElementTree.fromstring(text)  # noqa: S314 - written by matplotlib a moment ago
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith("}style"):
                parent.remove(child)
    for element in root.iter():
        _simplify(element)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    return root


def _simplify(element: Element) -> None:
    """Attributes in place of styles, variables in place of colours, no more digits than a screen can show."""
    element.tag = _NAMESPACE.sub("", element.tag)
    element.tail = None
    if element.tag != "text":
        element.text = None
    attributes = {_NAMESPACE.sub("", key): value for key, value in element.items()}
    for declaration in attributes.pop("style", "").split(";"):
        key, _, value = declaration.partition(":")
        if value and key.strip() not in _PAGE_SAYS:
            attributes[key.strip()] = _COLOUR.sub(lambda match: variable(match[0]), value.strip())
    for key in ("d", "x", "y", "transform", "points", "width", "height"):
        if key in attributes:
            attributes[key] = _NUMBER.sub(lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), attributes[key])
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "d" in attributes:
        attributes["d"] = " ".join(attributes["d"].split())
    element.attrib.clear()
    element.attrib.update(attributes)
