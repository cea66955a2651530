"""Where to point at, and what a tooltip then says."""

_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def middle(locator):
    """Where it is in the window, after scrolling there; a page hears of scrolling a frame later."""
    locator.scroll_into_view_if_needed()
    locator.page.evaluate(_TWO_FRAMES)
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def tooltip(page):
    """The tooltip's lines; None without one."""
    tip = page.locator("#tip")
    return tip.inner_text().splitlines() if tip.is_visible() else None
