"""The HTML page: self-contained, escaped, and saying what was measured."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest


class Page(HTMLParser):
    """What a page holds: its text, its tags, and everything that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.fetched = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "srcset", "href", "data", "poster", "action")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def source(report) -> str:
    return (report.directory / "report.html").read_text()


@pytest.fixture
def page(source) -> Page:
    return Page(source)


def test_nothing_is_fetched(page, source):
    assert page.fetched
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.fetched)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", source)
    assert "default-src 'none'" in source


def test_pictures_are_whole_in_both_themes(page):
    pictures = [base64.b64decode(address.partition(",")[2]) for address in page.fetched]
    assert len(pictures) == 4  # the curve and the losses, dark and light
    assert all(picture.startswith(b"<?xml") and picture.rstrip().endswith(b"</svg>") for picture in pictures)
    assert len(set(pictures)) == 4


def test_hostile_names_are_text(page, source):
    assert "alert(1)</script>" not in source
    assert "a$b$<i>.safetensors on tell <b>lines</b> apart & count" in page.text
    assert "accuracy <script>alert(1)</script>" in page.text
    assert not {"i", "b", "script"} & set(page.tags)


def test_every_point_and_both_accountings_are_told(page, report):
    for point in report.points:
        assert point.setting in page.text
        assert f"{point.file_bytes:,}" in page.text
    main = next(point for point in report.points if point.setting == "latent 4")
    assert f"{main.latent_ratio:.1f}x" in page.text
    assert "the latents alone" in " ".join(page.text.split())
    assert "every byte counted" in page.text


def test_versions_are_told_but_no_paths(page, source, checkpoint):
    import weightzip

    assert f"weightzip {weightzip.__version__}" in page.text
    assert "core" in page.text
    assert str(checkpoint.parent) not in source
    assert str(Path.home()) not in source
