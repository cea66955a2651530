"""How the page looks in a browser: themes, phone, paper, and without its script."""

import itertools
import re
from pathlib import Path

import pytest
from made_up_report import NUM_TENSORS, make_report

pytestmark = [pytest.mark.slow, pytest.mark.ci]
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
ENOUGH = 4.5  # Web Content Accessibility Guidelines 2.2, criterion 1.4.3


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_a_page_of_a_large_model_is_small(html):
    assert len(html.encode()) < 2_000_000


def test_themes_differ(visit):
    seen = [background(visit(color_scheme=scheme)) for scheme in ("light", "dark")]
    assert seen == ["rgb(255, 255, 255)", "rgb(22, 27, 34)"]


def test_curves_change_with_the_theme(visit):
    colours = [
        visit(color_scheme=scheme).locator("svg.wide .line path").first.evaluate("path => getComputedStyle(path).stroke")
        for scheme in ("light", "dark")
    ]
    assert colours[0].startswith("rgb")
    assert colours[0] != colours[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(visit, scheme):
    page = visit(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    page.locator("button.key").first.click()
    page.locator("svg.wide .point").first.focus()
    result = page.evaluate(CONTRAST, ENOUGH)
    assert result["texts"] > 1000
    assert result["found"] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_only_tables_scroll_sideways(visit, width):
    page = visit(width=width)
    page.evaluate("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg.wide").is_visible() != page.locator("svg.narrow").is_visible()


def test_a_box_that_scrolls_can_be_reached_by_keyboard(visit):
    phone, desk = visit(width=390), visit(width=2000)
    assert phone.locator("#points .scroll").get_attribute("tabindex") == "0"
    assert desk.locator("#best .scroll").get_attribute("tabindex") is None


def test_paper_is_light_and_has_no_buttons(visit):
    page = visit(color_scheme="dark")
    page.locator("button.more:visible").first.wait_for()
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    visible = "buttons => buttons.filter((button) => button.checkVisibility()).map((button) => button.className)"
    assert set(page.locator("button").evaluate_all(visible)) <= {"key", "name"}  # the legend and the names, as text
    assert not page.get_by_label("Filter").first.is_visible()
    assert page.locator("#tensors-0 > tbody > tr:visible").count() == NUM_TENSORS
    assert page.locator("#points thead").inner_text().split()[0] == "method"


def test_on_paper_every_file_is_open_and_no_table_is_cut(page):
    page.emulate_media(media="print")
    assert page.locator("details.file[open]").count() == 1
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.file:not([open])").count() == 0
    page.set_viewport_size({"width": 690, "height": 900})  # what the margins leave of A4
    assert page.evaluate("document.documentElement.scrollWidth") <= 690
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.file[open]").count() == 1


def test_it_prints(page):
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type /Page\b", data)) < 60


def test_without_its_script_all_is_there(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#tensors-0 > tbody > tr:visible").count() == NUM_TENSORS
    assert page.locator("#points code:visible").count() == len(make_report().points)
    assert page.locator("svg.wide a.point:visible").count() > 20
    assert page.locator("svg.wide a.point title").first.text_content().startswith("Deep Compression, step 0\n5.0x smaller")
    assert page.locator("#bytes figure.histogram svg:visible").count() == 12
    assert page.locator("button:visible, input:visible").count() == 0
    assert not page.get_by_text("With the keyboard").is_visible()
    page.locator("details.others summary").first.click()
    assert page.locator("#bytes figure.histogram svg:visible").count() == 100


def test_structure_for_those_who_do_not_see_it(page):
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map((item) => Number(item.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("svg:not([aria-label]):not([aria-hidden])").count() == 0
    ids = page.locator("[id]").evaluate_all("all => all.map((item) => item.id)")
    assert len(ids) == len(set(ids))
    targets = page.locator("a[href^='#']").evaluate_all("all => all.map((item) => item.getAttribute('href').slice(1))")
    assert set(targets) <= set(ids)
    assert len(targets) > 20


def test_the_skip_link_comes_first_and_skips(page):
    page.keyboard.press("Tab")
    link = page.locator(".skip")
    assert link.bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_summary_leads_to_the_bytes(page):
    assert page.locator(".summary").inner_text() == "116.3x smaller, 0.9 points lost, 757 KB → see where they went"
    page.get_by_role("link", name="see where they went").click()
    (opened,) = page.locator("details.file[open]").all()
    assert opened.locator("h3").inner_text() == "weightzip finetune, step 5: 756,581 bytes"
    assert opened.bounding_box()["y"] < 300
