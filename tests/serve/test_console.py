"""The console: what it may load, and that its playground answers in a real browser."""

import re
import shutil

import pytest
from tests.serve.conftest import photo_file

PARTS = ("/console", "/console/console.css", "/console/console.js")


@pytest.mark.parametrize("path", PARTS)
def test_parts_come_under_a_strict_policy(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_page_has_nothing_inline_and_no_other_host(client):
    page = client.get("/console").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page)
    assert "//" not in page.replace("<!doctype html>", "")


def test_home_leads_to_the_console(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/console")


@pytest.mark.parametrize("name", ["index.html", "..%2Fapp.py", "console.py", "..%2f..%2fconfig.py"])
def test_nothing_else_is_given(client, name):
    answer = client.get(f"/console/{name}")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_playground_in_a_browser(server, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{server.url}/console")
        page.set_input_files("#picture", photo_file(tmp_path))
        api.expect(page.locator("#status")).to_contain_text("key")
        page.fill("#key", server.key)
        api.expect(page.locator("#bars li")).to_have_count(3)
        page.fill("#labels", "one\n<b>two</b>\none")
        api.expect(page.locator("#bars li")).to_have_count(2)
        assert page.locator("#bars b").count() == 0
        assert faults == []
        browser.close()
