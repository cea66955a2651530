"""The site builds without a warning, and without a network, and its pages know each other."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

from weightzip.cli.main import main as program

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments], env=os.environ | nowhere, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Links(HTMLParser):
    """A page's links, and what can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors.add(found.get("id") or "")
        self.links.append((found.get("href") if tag == "a" else found.get("src") if tag in ("img", "script") else None) or "")


def test_no_link_is_dead(site: Path):
    pages = {page: Links(page) for page in site.rglob("*.html")}
    dead = []
    for page, found in pages.items():
        for link in filter(None, found.links):
            place, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / place.partition("?")[0]).resolve() if place else page
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site: Path):
    """A site that is read offline, or by people who are not to be counted."""
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(https?://[^\"]+)", page.read_text(encoding="utf-8")
        )
        assert loaded == [], page


def flags(command: click.Command, path: str) -> list[tuple[str, str]]:
    if isinstance(command, click.Group):
        return [flag for name, child in command.commands.items() for flag in flags(child, f"{path} {name}")]
    return [(path, option) for parameter in command.params for option in parameter.opts if option.startswith("--")]


def test_every_command_and_flag_is_described(site: Path):
    text = re.sub(r"<[^>]+>", "", (site / "cli.html").read_text(encoding="utf-8"))
    sections = {heading: text.count(heading) for heading, _ in flags(program, "weightzip")}
    assert all(sections.values()), sections
    missing = [(path, flag) for path, flag in flags(program, "weightzip") if flag not in text]
    assert missing == []


def test_every_page_is_reached(site: Path):
    """Whatever is in docs/ is in the site, and has a title."""
    for page in DOCS.rglob("*.md"):
        built = site / page.relative_to(DOCS).with_suffix(".html")
        assert "<h1>" in built.read_text(encoding="utf-8"), page
