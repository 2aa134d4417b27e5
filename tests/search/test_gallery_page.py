"""The gallery in headless Chromium: words, dropped, pasted and chosen examples, keys, a phone's width.

With SIGLIP2_SCREENSHOTS=FOLDER the screens are kept, to be looked at.
"""

import os
import threading
from pathlib import Path

import pytest
from tests.chromium import headless_chromium

from siglip2.search.gallery import make_server

HAND_OVER = """
([bytes, name, type, kind]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const options = { dataTransfer: data, clipboardData: data, bubbles: true, cancelable: true };
  const event = kind === "drop" ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
  document.body.dispatchEvent(event);
}
"""


@pytest.fixture(scope="module")
def browser():
    with headless_chromium() as opened:
        yield opened


@pytest.fixture
def gallery(browser, collection, photos):
    """A page on a served collection, which must say nothing on its console."""
    collection.add([photos])
    server = make_server(collection)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    complaints: list[str] = []

    def open_page(width: int = 1200, height: int = 800, query: str = ""):
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(f"http://127.0.0.1:{server.server_port}/{query}")
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert complaints == []


def until(page, expression: str, argument: object = None) -> None:
    """Ask again until it is true; the page's policy forbids Playwright to wait inside it."""
    for _ in range(300):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


def names(page) -> list[str]:
    return page.eval_on_selector_all("figure", "all => all.map(each => each.hit.name)")


def searched(page, words: str) -> list[str]:
    page.fill("#query", words)
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('figure').length > 0 && /ms$/.test(state.textContent)")
    return names(page)


def keep(page, name: str) -> None:
    if "SIGLIP2_SCREENSHOTS" in os.environ:
        until(page, "[...document.images].every(each => !each.src || each.complete)")
        page.screenshot(path=Path(os.environ["SIGLIP2_SCREENSHOTS"]) / f"{name}.png")


def first_is(page, name: str) -> None:
    until(page, "name => document.querySelector('figure')?.hit.name === name", name)


def test_words_and_examples(gallery, collection, photos):
    page = gallery(query="?q=a%20dog")
    page.wait_for_selector("figure img")
    assert names(page) == [Path(hit.path).name for hit in collection.search("a dog")]
    keep(page, "gallery")
    assert searched(page, "a cat") == [Path(hit.path).name for hit in collection.search("a cat")]
    page.fill("#query", "")
    for kind, name in (("drop", "photo_004.png"), ("paste", "photo_011.png")):
        content = list((photos / name).read_bytes())
        page.evaluate(HAND_OVER, [content, "example.png", "image/png", kind])
        first_is(page, name)
        assert page.is_visible("#example img")
    page.set_input_files("#file", photos / "photo_013.png")
    first_is(page, "photo_013.png")
    keep(page, "gallery-example")
    page.evaluate(HAND_OVER, [[1, 2, 3], "notes.txt", "text/plain", "drop"])
    assert page.inner_text("#state") == "That is no photo."
    page.focus("#example")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('figure').length === 0")
    assert not page.is_visible("#example img")


def test_filters_and_mistakes(gallery, collection):
    page = gallery()
    page.fill("#where", "words=photo 003; width=40")
    assert searched(page, "a dog") == ["photo_003.png"]


def test_keys(gallery):
    page = gallery()
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") in ("query", "without")
    found = searched(page, "a dog")
    focused = "document.activeElement.hit?.name ?? document.activeElement.id"
    page.focus("#query")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == found[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == found[1]
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) in found[2:]
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) in found[:3]
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    shown = page.inner_text("#name")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#name") == found[found.index(shown) + 1]
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="hidden")
    # The dialog's close event, which moves the focus, comes after the dialog has gone.
    until(page, f"name => ({focused}) === name", found[found.index(shown) + 1])
    page.keyboard.press("m")
    gone = "name => ![...document.querySelectorAll('figure')].some(each => each.hit.name === name)"
    until(page, gone, found[found.index(shown) + 1])
    assert len(names(page)) == 19
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "query"


def test_a_phone(gallery):
    page = gallery(390, 844)
    searched(page, "a dog")
    keep(page, "gallery-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.eval_on_selector_all(
        "form input, form button, .file",
        "all => all.filter(each => each.offsetHeight && each.offsetHeight < 36).map(each => each.id)",
    )
    assert small == []
    page.click("figure")
    page.wait_for_selector("dialog[open] img")
    page.click("dialog")
    page.wait_for_selector("dialog[open]", state="hidden")
