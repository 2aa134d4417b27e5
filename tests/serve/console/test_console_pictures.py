"""The console: pictures dropped, pasted, linked; bars that move while typing; results looked at closely."""

import base64
import csv

import pytest
from tests.serve.conftest import photo_file, png
from tests.serve.console.conftest import PASSWORD, expect, sign_up, view

TRANSFER = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""


def transfer(page, name="photo.png", kind="image/png", data=None):
    """What a browser hands over with a drop or a paste of one file."""
    packed = base64.b64encode(png(4) if data is None else data).decode()
    return page.evaluate_handle(TRANSFER, [name, kind, packed])


def answered(page):
    expect(page.locator("#bars li")).to_have_count(3)
    expect(page.locator(".frame img")).to_be_visible()
    assert page.evaluate("document.querySelector('.frame img').naturalWidth") == 52


def test_dropped(page):
    sign_up(page, "drop@example.org")
    page.dispatch_event(".drop", "dragover", {"dataTransfer": transfer(page)})
    expect(page.locator(".drop.over")).to_have_count(1)
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer(page)})
    answered(page)
    expect(page.locator(".drop.over")).to_have_count(0)
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer(page, "a.txt", "text/plain", b"x")})
    expect(page.get_by_role("status")).to_contain_text("not a picture")


def test_pasted(page):
    sign_up(page, "paste@example.org")
    page.evaluate(
        "(data) => document.body.dispatchEvent(new ClipboardEvent('paste',"
        " { clipboardData: data, bubbles: true }))",
        transfer(page),
    )
    answered(page)


def test_linked(page, pictures):
    sign_up(page, "link@example.org")
    page.fill("#link", f"{pictures}/photo7.png")
    page.keyboard.press("Enter")
    answered(page)
    expect(page.locator("#snippet")).to_contain_text(f"{pictures}/photo7.png")
    page.fill("#link", f"{pictures}/nothing.png")
    page.get_by_role("button", name="Load").click()
    expect(page.get_by_role("status")).to_have_class("say fault")


def test_a_file_that_is_no_picture(page):
    sign_up(page, "broken@example.org")
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer(page, data=b"not a picture")})
    expect(page.get_by_role("status")).to_have_class("say fault")
    expect(page.locator("#bars li")).to_have_count(0)


def test_bars_move_while_typing_and_ask_once(page, tmp_path):
    sign_up(page, "typing@example.org")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    page.set_input_files("#picture", photo_file(tmp_path))
    answered(page)
    width = "document.querySelectorAll('#bars .track div')[0].style.width"
    before = page.evaluate(width)
    page.locator("#label").press_sequentially("a zebra in the snow", delay=5)
    expect(page.locator("#bars li.draft")).to_have_count(1)
    page.wait_for_function(f"{width} !== '{before}'")
    assert sum(url.endswith("/v1/classify") for url in asked) <= 3  # not one for each letter
    many = len(asked)
    page.get_by_text("Each by itself").click()
    expect(page.locator("#bars + .say")).to_contain_text("Answered")
    assert len(asked) == many  # nothing is asked again for another way of counting


def test_a_result_is_looked_at_and_searched_by(page):
    sign_up(page, "results@example.org")
    view(page, "search")
    page.fill("#words", "abc")
    page.keyboard.press("Enter")
    expect(page.locator("#results img")).to_have_count(3)
    expect(page.get_by_role("button", name="More", exact=True)).to_be_hidden()
    shot, image = (
        page.locator(f"#results li:first-child {part}").bounding_box() for part in (".shot", "img")
    )
    assert image == pytest.approx(shot, abs=1)
    page.get_by_role("button", name="Look at photo2.png").click()
    expect(page.locator("dialog img")).to_be_visible()
    page.get_by_role("button", name="More like this").click()
    expect(page.get_by_role("status")).to_contain_text("like photo2.png")
    expect(page.locator("#results li").first).to_contain_text("photo2.png")


def test_usage_as_a_file(page, tmp_path):
    sign_up(page, "csv@example.org")
    page.set_input_files("#picture", photo_file(tmp_path))
    answered(page)
    view(page, "usage")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    with open(download.value.path(), newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["Model"], line["Key"], line["Requests"]) for line in lines] == [("tiny", "Console", "1")]
    assert float(lines[0]["Cost (credit)"]) == pytest.approx(0.00013)


def test_another_password(page):
    sign_up(page, "password@example.org")
    page.locator("#who .email").click()
    page.fill("#current", "a wrong pass phrase")
    page.fill("#next", "another pass phrase")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("wrong")
    page.fill("#current", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Saved")
    page.locator("#sign-out").click()
    page.fill("#email", "password@example.org")
    page.fill("#password", "another pass phrase")
    page.keyboard.press("Enter")
    expect(page.locator("#picture")).to_be_attached()


def test_keys_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    sign_up(page, "phone@example.org")
    view(page, "keys")
    page.fill("#key-name", "tablet")
    page.get_by_role("button", name="Create key").click()
    revoke = page.get_by_role("button", name="Revoke tablet")
    revoke.scroll_into_view_if_needed()
    box = revoke.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert page.get_by_role("cell").count() == 7  # still a table to screen readers
