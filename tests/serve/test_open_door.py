"""A service without accounts is for its own machine: not for the pages of other sites in a browser there."""

import httpx
import pytest

from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

RELOAD = "/v1/admin/models/tiny/reload"


@pytest.fixture(scope="module")
def site(start, encoder):
    settings = SignInSettings(public_url="https://photos.example")
    return start(ServeSettings(open=True, sign_in=settings), load_model=lambda source: encoder)


@pytest.fixture
def anybody(site):
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "photos.example"]
)
def test_hosts_of_this_machine(anybody, host):
    assert anybody.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "192.168.1.2", "[::1"]
)
def test_other_hosts(anybody, host):
    for path in ("/v1/models", "/console"):
        answer = anybody.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_change_nothing(anybody, headers):
    answer = anybody.post(RELOAD, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")
    assert anybody.get("/v1/models", headers=headers).status_code == 200  # whose answer they cannot read


def test_its_own_pages_and_programs(start, encoder):
    server = start(ServeSettings(open=True), load_model=lambda source: encoder)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        assert client.post(RELOAD).status_code == 200
        own = {"origin": server.url, "sec-fetch-site": "same-origin"}
        assert client.post(RELOAD, headers=own).status_code == 200
