"""WCAG AA by axe: every view, light and dark, on a desk and on a phone, and nothing wider than the screen."""

import pytest
from tests.serve.conftest import photo_file
from tests.serve.console.conftest import expect, sign_up, view

SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(page, scheme, screen, tmp_path):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install axe-playwright-python"
    )
    width, height = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    def check(name):
        found = axe.Axe().run(page).response["violations"]
        assert [(name, each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name

    expect(page.locator("h1")).to_be_visible()
    check("sign-in")
    page.locator(".reference").click()
    page.get_by_text("/v1/label_sets", exact=True).first.click()
    page.get_by_text("/v1/organization/costs", exact=True).click()
    expect(page.locator("details[open] pre")).to_have_count(2)
    check("reference")
    page.goto(page.url.split("#")[0])
    sign_up(page, f"axe-{scheme}-{screen}@example.org")
    page.set_input_files("#picture", photo_file(tmp_path))
    expect(page.locator("#bars li")).to_have_count(3)
    check("playground")
    for name in ("search", "keys", "usage", "credit"):
        view(page, name)
        if name == "search":
            page.fill("#words", "abc")
            page.keyboard.press("Enter")
            expect(page.locator("#results img")).to_have_count(3)
            page.get_by_role("button", name="Look at photo0.png").click()
            expect(page.locator("dialog img")).to_be_visible()
            check("a closer look")
            page.keyboard.press("Escape")
            expect(page.locator("dialog")).to_have_count(0)
        if name == "keys":
            page.fill("#key-name", "ci")
            page.get_by_role("button", name="Create key").click()
            expect(page.locator("tbody tr")).to_have_count(1)
            page.get_by_role("button", name="Revoke ci").click()
            check("revoking")
            page.keyboard.press("Escape")
        check(name)
    page.locator("#who .email").click()
    expect(page.locator("h1")).to_have_text("Account")
    check("account")
