"""Shows this project's docstrings, which describe arguments as `name: what it is`, as fields of reStructuredText."""

from __future__ import annotations

import inspect
import re
from typing import Any

from sphinx.application import Sphinx


def fields(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show what docstrings say of `name: what it is` as fields, where `name` is a parameter or an attribute."""
    if what not in ("function", "method", "class"):
        return
    known, kind = _names(obj), "ivar" if what == "class" else "param"
    text, described = [], []
    for paragraph in "\n".join(lines).split("\n\n"):
        for part in _parts(paragraph, known):
            names, colon, meaning = part.partition(": ")
            found = names.replace("*", "").split(", ")
            if colon and known.issuperset(found):
                described += [f":{kind} {name}: {_starless(' '.join(meaning.split()))}" for name in found]
            else:
                text.append(_starless(part))
        text.append("")
    lines[:] = "\n".join([*text, *described, ""]).split("\n")


def _parts(paragraph: str, known: set[str]) -> list[str]:
    """Cut where a paragraph goes on to something else: the next `name: ...`, or a line that begins a sentence."""
    name = rf"(?:{'|'.join(sorted(known))})\*?" if known else r"\b\B"
    return re.split(rf"(?<=[.;]) (?={name}(?:, {name})*: )|\n(?={name}(?:, {name})*: )|(?<=\.)\n(?=[A-Z])", paragraph)


def _starless(text: str) -> str:
    return text.replace("*", "\\*")


def _names(obj: Any) -> set[str]:
    return set(getattr(obj, "__annotations__", {}) if isinstance(obj, type) else inspect.signature(obj).parameters)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
