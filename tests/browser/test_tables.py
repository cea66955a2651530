"""Tables in a browser: sorted, filtered, cut and opened, by pointer and by keyboard."""

import pytest
from made_up_report import HOSTILE, NUM_TENSORS
from pointing import middle, tooltip

from weightzip.results import AUTO

pytestmark = [pytest.mark.slow, pytest.mark.ci]
TENSORS = "details[open] .tensors"


def names(page, table=TENSORS):
    return page.locator(f"{table} > tbody > tr:not(.detail):visible .name").all_inner_texts()


def numbers(page, column, table=TENSORS):
    cells = page.locator(f"{table} > tbody > tr:not(.detail) > :nth-child({column})")
    return [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")]


def head(page, name, table=TENSORS):
    return page.locator(f"{table} thead").get_by_role("button", name=name, exact=True)


def order(page, name, table=TENSORS):
    return head(page, name, table).locator("..").get_attribute("aria-sort")


def test_sorting_by_bytes_and_back(page):
    assert order(page, "bytes") == "descending"
    largest_first = numbers(page, 3)
    assert largest_first == sorted(largest_first, reverse=True)
    head(page, "bytes").click()
    assert order(page, "bytes") == "ascending"
    assert numbers(page, 3) == largest_first[::-1]
    head(page, "bytes").click()
    assert numbers(page, 3) == largest_first


def test_sorting_by_keyboard_and_what_is_missing_comes_last(page):
    head(page, "relative mse").focus()
    page.keyboard.press("Enter")
    assert (order(page, "relative mse"), order(page, "bytes")) == ("descending", None)
    descending = numbers(page, 5)
    assert descending[:-1] == sorted(descending[:-1], reverse=True)
    assert descending[-1] != descending[-1]  # not a number
    page.keyboard.press("Space")
    ascending = numbers(page, 5)
    assert ascending[:-1] == sorted(ascending[:-1])
    assert ascending[-1] != ascending[-1]


def test_sorting_by_name_is_the_checkpoints_order(page):
    head(page, "tensor").click()
    assert names(page)[:3] == [HOSTILE, "nothing", f"small {HOSTILE}"]


def test_sorting_text(page):
    methods = "#points tbody > tr > th"
    head(page, "method", "#points table").click()
    told = page.locator(methods).all_inner_texts()
    assert told == sorted(told, key=str.lower)
    assert len(set(told)) == 8


def test_a_long_table_is_cut_until_asked(page):
    assert len(names(page)) == 50
    page.locator("button.more:visible").first.focus()
    page.keyboard.press("Enter")
    assert len(names(page)) == NUM_TENSORS
    assert page.evaluate("document.activeElement.innerText") == names(page)[50]


def test_filter(page):
    field = page.get_by_label("Filter").first
    field.fill("LAYER.11")
    assert sorted(names(page)) == sorted(f"encoder.layer.{number}.attention.weight" for number in (11, *range(110, 118)))
    assert page.locator(".tools [role=status]").first.inner_text() == f"9 of {NUM_TENSORS}"
    field.fill("no such tensor")
    assert names(page) == []
    field.fill("")
    assert len(names(page)) == 50


def test_a_tensor_opens_its_histogram_which_moves_along(page):
    name = names(page)[0]
    button = page.locator(TENSORS).get_by_role("button", name=name, exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    picture = page.locator(f"{TENSORS} tr.detail [role=img]")
    assert picture.get_attribute("aria-label").startswith(f"{name}: weights from -0.5 to 0.5 in 64 bins")
    assert picture.bounding_box()["height"] > 50
    page.locator("button.more:visible").first.click()
    head(page, "bytes").click()
    above = page.locator(f"{TENSORS} tr:has(+ tr.detail) .name")
    assert above.inner_text() == name
    button.click()
    assert page.locator(f"{TENSORS} tr.detail").count() == 0


def test_a_command_is_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    row = page.locator("#points tbody tr").filter(has_text=AUTO).first
    row.get_by_role("button").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"weightzip report 'model {HOSTILE}' --task task.py:task --only '{AUTO}, step 0'"
    assert row.get_by_role("button").inner_text() == "copied"


def test_a_command_is_selected_where_the_clipboard_is_closed(visit):
    closed = "navigator.clipboard.writeText = () => Promise.reject(new Error('closed'));"
    page = visit(script=closed)
    row = page.locator("#points tbody tr").first
    row.get_by_role("button").click()
    row.get_by_text("selected").wait_for()
    assert page.evaluate("getSelection().toString()").startswith("weightzip report 'model")


def test_strips_tell_what_is_under_the_pointer(page):
    page.mouse.move(*middle(page.locator(".strip rect").first))
    assert tooltip(page) == ["symbols", "376,290 bytes, 49.7%"]


@pytest.mark.parametrize("table", ["#best table", "#findings table", "#points table", "#bytes table"])
def test_every_head_sorts_without_losing_a_row(page, table):
    rows = f"{table} >> nth=0 >> css=tbody > tr"
    before = sorted(page.locator(rows).all_inner_texts())
    assert len(before) > 2
    for button in page.locator(f"{table} >> nth=0 >> css=thead button").all():
        button.click()
    assert sorted(page.locator(rows).all_inner_texts()) == before
