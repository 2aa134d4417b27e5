"""The console in real headless Chromium, on a live service with a collection."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from tests.chromium import headless_chromium
from tests.serve.conftest import photo_file
from tests.serve.processes import web_server

from siglip2.search.collection import Collection
from siglip2.serve.settings import FetchSettings, ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Iterator[str]:
    """The address of a web server on loopback with `photo7.png`."""
    folder = tmp_path_factory.mktemp("pictures")
    photo_file(folder, 7)
    with web_server(folder) as address:
        yield address


@pytest.fixture(scope="session")
def site(start, encoder, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    with Collection.open(folder / "c.siglip2", encoder) as collection:
        collection.add([photo_file(folder, seed) for seed in range(3)])
    port = int(pictures.rsplit(":", 1)[1])
    return start(
        ServeSettings(
            collections={"photos": folder / "c.siglip2"},
            sign_in=SignInSettings(attempts=1000),
            requests_per_minute=10**5,
            fetch=FetchSettings(allowed_networks=(ip_network("127.0.0.0/8"),), ports=frozenset({port})),
        )
    )


@pytest.fixture(scope="module")
def chromium():
    """A browser for one file of tests."""
    with headless_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium, site) -> Iterator:
    """A page of a fresh browser; whatever its console complains about fails the test."""
    context = chromium.new_context()
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(f"{site.url}/console")
    yield page
    assert [fault for fault in faults if "status of 4" not in fault] == []
    context.close()


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def sign_up(page, email):
    page.get_by_role("button", name="Create an account").click()
    page.fill("#email", email)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#picture")).to_be_attached()


def view(page, name):
    page.locator(f"nav a[href='#/{name}']").click()
    expect(page.locator("h1")).to_have_text(name.capitalize())
