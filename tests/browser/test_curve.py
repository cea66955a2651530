"""The curve in a browser: what the pointer, the keyboard and a finger get from it."""

import pytest
from pointing import middle, tooltip

from weightzip.results import AUTO, PAPER


def point(page, method, setting, kind="wide"):
    return page.locator(f"svg.{kind} .point[data-tip^='{method}, {setting}\\a ']").first


def test_pointing_shows_the_numbers_of_the_nearest_point(page):
    x, y = middle(point(page, AUTO, "step 2"))
    assert tooltip(page) is None
    page.mouse.move(x + 3, y - 4)
    title, size, metric = tooltip(page)
    assert title == f"{AUTO}, step 2"
    assert size == "8.7x smaller, 10,148,377 bytes"  # 88,000,000 / (4 * 15 ** (2 / 7))
    assert metric.startswith("score </script>")
    assert metric.endswith("97.94% (-0.06)")
    page.mouse.move(x, y - 300)
    assert tooltip(page) is None


def test_the_papers_point_tells_both_accountings(page):
    page.mouse.move(*middle(point(page, PAPER, "latent 64")))
    assert tooltip(page)[0] == f"{PAPER}, latent 64"
    assert tooltip(page)[3] == "latents only, the paper's accounting: 32.0x"


def test_a_tooltip_stays_within_the_window(visit):
    page = visit(width=390)
    for number in range(0, page.locator("svg.narrow .point").count(), 5):
        page.mouse.move(*middle(page.locator("svg.narrow .point").nth(number)))
        box = page.locator("#tip").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_all_points_are_one_stop_and_arrows_walk(page):
    assert page.locator("svg.wide .point[tabindex='0']").count() == 1
    page.locator("#main").focus()
    page.keyboard.press("Tab")
    assert tooltip(page)[0] == f"{AUTO}, step 0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert tooltip(page)[0] == f"{AUTO}, step 2"
    page.keyboard.press("ArrowLeft")
    assert tooltip(page)[0] == f"{AUTO}, step 1"
    page.keyboard.press("ArrowDown")
    assert tooltip(page)[0].startswith("weightzip calibrate, ")
    page.keyboard.press("Home")
    assert tooltip(page)[0] == "weightzip calibrate, step 0"
    page.keyboard.press("Escape")
    assert tooltip(page) is None
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('button.key')")


def test_a_point_says_what_its_tooltip_shows(page):
    label = point(page, AUTO, "step 2").get_attribute("aria-label")
    assert label.startswith(f"{AUTO}, step 2. 8.7x smaller, 10,148,377 bytes. score")


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_a_point_leads_to_its_row(page, way):
    target = point(page, AUTO, "step 3")
    if way == "mouse":
        page.mouse.click(*middle(target))
    else:
        target.focus()
        page.keyboard.press("Enter")
    row = page.locator("tr:target")
    row.wait_for()
    assert [row.locator("th").inner_text(), row.locator("td").first.inner_text()] == [AUTO, "step 3"]
    top = row.bounding_box()["y"]
    assert 0 <= top < 900


def test_a_finger_shows_first_and_follows_then(visit):
    page = visit(width=390, has_touch=True)
    target = point(page, AUTO, "step 3", "narrow")
    page.touchscreen.tap(*middle(target))
    assert tooltip(page)[0] == f"{AUTO}, step 3"
    assert "#" not in page.url
    page.touchscreen.tap(*middle(target))
    page.locator("tr:target").wait_for()


def test_the_legend_hides_and_shows_a_method(page):
    button = page.get_by_role("button", name=AUTO, exact=True)
    target = point(page, AUTO, "step 2")
    place = middle(target)
    assert button.get_attribute("aria-pressed") == "true"
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert not target.is_visible()
    page.mouse.move(*place)
    assert tooltip(page) is None or AUTO not in tooltip(page)[0]
    assert page.locator("svg.wide .point[tabindex='0']").is_visible()
    page.keyboard.press("Space")
    assert target.is_visible()


def test_losses_tell_the_epoch_that_is_kept(page):
    page.mouse.move(*middle(page.locator(".figures .point").first))
    assert tooltip(page)[0] == "latent 128, epoch 20 of 30, which is kept"
    assert tooltip(page)[1] == "training 150.0 nats, validation 155.0 nats"
