"""The console in Chromium: signing in, every view, the keyboard."""

from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from tests.serve.conftest import photo_file
from tests.serve.console.conftest import expect, sign_up, view

from siglip2.serve.settings import ServeSettings


def test_from_sign_up_to_a_revoked_key(page, site, tmp_path):
    sign_up(page, "browser@example.org")
    page.set_input_files("#picture", photo_file(tmp_path))
    expect(page.locator("#bars li")).to_have_count(3)
    page.fill("#label", "<b>four</b>")
    expect(page.locator("#bars li.draft")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator(".chip")).to_have_count(4)
    assert page.locator("#bars b, .chips b").count() == 0
    page.get_by_role("button", name="Remove a dog").click()
    expect(page.locator("#bars li")).to_have_count(3)
    page.get_by_text("One of them", exact=True).click()
    shares = [float(text.strip("<% ")) for text in page.locator("#bars .value").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    page.get_by_role("button", name="Where is a cat?").click()
    expect(page.locator(".frame canvas")).to_be_visible()
    page.get_by_role("tab", name="curl").press("ArrowRight")
    expect(page.locator("#snippet")).to_contain_text("requests.post")

    view(page, "keys")
    page.fill("#key-name", "laptop")
    page.get_by_label("Search").uncheck()
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("#secret").inner_text()
    view(page, "credit")
    expect(page.locator("tbody")).to_contain_text("Free credit on sign-up")
    view(page, "usage")
    expect(page.locator("svg.chart rect").first).to_be_visible()
    view(page, "keys")
    expect(page.locator("tbody")).to_contain_text("classify, embed, score")
    assert secret not in page.content()

    import httpx

    bearer = {"authorization": f"Bearer {secret}"}
    send = {"url": f"{site.url}/v1/embeddings", "json": {"input": "a"}, "headers": bearer, "trust_env": False}
    assert httpx.post(**send).status_code == 200
    page.get_by_role("button", name="Revoke laptop").click()
    page.locator("#revoke").click()
    expect(page.locator("tbody")).to_contain_text("revoked")
    assert httpx.post(**send).status_code == 401

    page.locator("#sign-out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    page.goto(f"{site.url}/console#/keys")
    expect(page.locator("#password")).to_be_visible()


def held(page, path):
    """Requests of a path, which wait until the test answers them."""
    routes = []
    page.route(path, lambda route: routes.append(route))
    return routes


def wait_for(page, routes, count):
    for _ in range(500):
        if len(routes) == count:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{len(routes)} requests, not {count}")


def answer_late(page, route, body):
    """Answer a request whose page may wait for it no more, and give the page time to read it."""
    from playwright.sync_api import Error

    with suppress(Error):
        route.fulfill(json=body)
    page.wait_for_timeout(200)


def test_an_answer_about_another_template_is_dropped(page, tmp_path):
    sign_up(page, "template@example.org")
    page.set_input_files("#picture", photo_file(tmp_path))
    expect(page.locator("#bars li")).to_have_count(3)
    page.get_by_text("Options", exact=True).click()
    page.clock.install()
    page.clock.pause_at(datetime.now() + timedelta(hours=1))
    routes = held(page, "**/v1/classify")
    page.fill("#template", "a photo of a {label}")
    page.clock.run_for(1000)
    wait_for(page, routes, 1)
    page.fill("#template", "a drawing of a {label}")
    labels = routes[0].request.post_data_json["labels"]
    ranked = [{"label": label, "logit": 50, "score": 1, "probability": 1} for label in labels]
    answer_late(page, routes[0], {"model": "tiny", "data": [{"predictions": ranked}]})
    page.clock.run_for(1000)
    wait_for(page, routes, 2)
    asked = routes[1].request.post_data_json
    assert (asked["template"], asked["labels"]) == ("a drawing of a {label}", labels)


def test_a_heat_map_of_another_picture_is_dropped(page, tmp_path):
    sign_up(page, "heat@example.org")
    page.set_input_files("#picture", photo_file(tmp_path))
    expect(page.locator("#bars li")).to_have_count(3)
    routes = held(page, "**/v1/heatmap")
    where = page.get_by_role("button", name="Where is a cat?")
    where.click()
    wait_for(page, routes, 1)
    page.set_input_files("#picture", photo_file(tmp_path, 1))
    expect(page.get_by_role("status")).to_contain_text("Answered")
    answer_late(page, routes[0], {"data": [{"similarity": [[0, 1], [1, 0]]}]})
    expect(page.locator(".frame canvas")).to_be_hidden()
    where.click()
    wait_for(page, routes, 2)  # nothing was kept of the first


def test_wrong_password_says_so_and_an_ended_session_asks_again(page):
    page.fill("#email", "nobody@example.org")
    page.fill("#password", "not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("wrong")
    sign_up(page, "ended@example.org")
    page.context.clear_cookies()
    view_keys = page.locator("nav a[href='#/keys']")
    view_keys.click()
    expect(page.locator("h1")).to_have_text("Sign in")


def test_a_key_alone_is_enough_to_try(page, site, tmp_path):
    page.get_by_text("Use an API key instead").click()
    page.fill("#key", site.key)
    page.keyboard.press("Enter")
    page.set_input_files("#picture", photo_file(tmp_path))
    expect(page.locator("#bars li")).to_have_count(3)
    view(page, "search")
    page.fill("#words", "abc")
    page.keyboard.press("Enter")
    expect(page.locator("#results img")).to_have_count(3)
    page.locator("nav a[href='#/keys']").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    page.reload()
    expect(page.locator("h1")).to_have_text("Sign in")  # the key is forgotten


def test_an_open_server_has_no_door(chromium, start, tmp_path):
    server = start(ServeSettings(open=True))
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{server.url}/console")
        page.set_input_files("#picture", photo_file(tmp_path))
        expect(page.locator("#bars li")).to_have_count(3)
        expect(page.locator("#snippet")).not_to_contain_text("Authorization")
        assert page.locator("nav a").all_inner_texts() == ["Playground", "Search"]
        view(page, "search")
        expect(page.locator(".empty")).to_contain_text("No collection is mounted here")


def test_the_reference_needs_no_account_and_no_other_host(page, site):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.url}/docs")
    expect(page.locator("h1")).to_have_text("API")
    document = page.request.get(f"{site.url}/openapi.json").json()
    count = sum(len(methods) for methods in document["paths"].values())
    expect(page.locator("details.route")).to_have_count(count)
    page.get_by_text("/v1/classify", exact=True).click()
    route = page.locator("details[open]")
    expect(route.locator("pre")).to_contain_text("/v1/classify")
    expect(route).to_contain_text("max_num_patches")
    expect(route).to_contain_text("score_type")
    assert all(url.startswith(site.url) for url in asked)


def test_theme_follows_the_system_until_one_is_chosen(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    assert dark != light
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate(colour) == dark
    page.reload()
    assert page.evaluate(colour) == dark


def test_everything_by_keyboard(page, tmp_path):
    sign_up(page, "keyboard@example.org")
    seen = set()
    page.locator("body").press("Tab")
    for _ in range(40):
        seen.add(
            page.evaluate(
                "(e => e.id || e.textContent.trim() || e.getAttribute('aria-label'))(document.activeElement)"
            )
        )
        page.keyboard.press("Tab")
    assert {
        "Skip to the content",
        "Playground",
        "Credit",
        "theme",
        "sign-out",
        "picture",
        "link",
        "label",
    } <= seen
    page.locator("#label").focus()
    page.keyboard.press("Backspace")  # takes the last label back
    expect(page.locator("#label")).to_have_value("a city at night")
