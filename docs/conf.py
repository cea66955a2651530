"""The site: `sphinx-build -W -b html docs OUT` makes it, without a network."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "weightzip"
release = version = importlib.metadata.version("weightzip")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "commands", "docstrings"]
exclude_patterns = ["_build", "extensions"]

html_theme = "furo"
html_title = "weightzip"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0067b1", "color-brand-content": "#0067b1"},
    "dark_css_variables": {"color-brand-primary": "#58b0ff", "color-brand-content": "#58b0ff"},
}

myst_heading_anchors = 3
smartquotes = False  # which would make one dash of the two that a flag begins with
highlight_language = "none"
default_role = "code"

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
