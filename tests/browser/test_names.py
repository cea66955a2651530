"""Names that try to break out of the page, and scripts that are not its own."""

from made_up_report import HOSTILE


def test_hostile_names_stay_text(page):
    assert page.evaluate("window.broken") is None
    assert page.locator("img, script:not(body > script), b").count() == 0
    assert page.locator("h1").inner_text() == f"model {HOSTILE} on task {HOSTILE}"
    assert page.title() == f"weightzip: model {HOSTILE} on task {HOSTILE}"
    assert page.locator(f"[data-tip^='new {HOSTILE[:9]}']").count() > 5
    page.locator("svg.wide .point[data-tip^='new ']").first.focus()
    assert page.locator("#tip div").first.inner_text() == f"new {HOSTILE}, step 0"


def test_no_other_script_can_run(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.broken = 1' }))")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 2\">')")
    page.wait_for_timeout(100)
    assert page.evaluate("window.broken") is None
    page.close()
