"""A Chromium without a window, and the page of a made-up report in it. Without a browser these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_report import make_report

from weightzip.report.page import render

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_QUIET = ("background-networking", "component-update", "sync", "quic", "gpu", "extensions")
_PATIENCE = 10_000  # milliseconds until something that does not come is a failure
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def html() -> str:
    return render(make_report())


@pytest.fixture(scope="session")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        if found is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium: install it, or run `playwright install chromium`")
        options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in _QUIET)]
        browser = driver.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


class Heard:
    """What a page said and asked for while it was open."""

    def __init__(self, page: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page, each time in a context of its own; afterwards, no page may have complained or asked for anything."""
    opened: list[tuple[Any, Heard]] = []

    def visit(*, width: int = 1280, address: str = address, script: str = "", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(_PATIENCE)
        page = context.new_page()
        opened.append((context, Heard(page)))
        if script:
            page.add_init_script(script)
        page.goto(address)
        return page

    yield visit
    for context, heard in opened:
        context.close()
        assert heard.said == []
        assert [asked for asked in heard.asked if not asked.startswith("file:")] == []
        assert len({asked.partition("#")[0] for asked in heard.asked}) == 1


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    """The page on a desk, in the light theme."""
    return visit(color_scheme="light")
