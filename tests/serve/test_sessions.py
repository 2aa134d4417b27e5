"""Signing up, in and out over HTTP, and what must not work."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select, update
from tests.serve.conftest import data_url

from siglip2.serve.accounts import passwords
from siglip2.serve.accounts.ledger import find_errors
from siglip2.serve.accounts.sessions import IDLE_TIME, WHOLE_TIME
from siglip2.serve.accounts.store import create_account, create_key, find_account
from siglip2.serve.accounts.tables import Account, ApiKey, BrowserSession, Entry
from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

PASSWORD = "correct horse battery"
SIGN_IN = SignInSettings(sign_up_credit=5_000, attempts=1000)


@pytest.fixture(scope="module")
def site(start):
    return start(ServeSettings(sign_in=SIGN_IN))


@pytest.fixture
def browser(site):
    """As a browser sends: cookies are kept, and no key is known."""
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        yield client


def sign_up(client, email, password=PASSWORD, **headers):
    return client.post("/account/sign-up", json={"email": email, "password": password}, headers=headers)


def sign_in(client, email, password=PASSWORD, **headers):
    return client.post("/account/sign-in", json={"email": email, "password": password}, headers=headers)


def token_of(client):
    return {"x-csrf-token": client.get("/account/session").json()["csrf_token"]}


def test_sign_up_gives_credit_once_and_a_session(browser, site):
    answer = sign_up(browser, " Grace@Example.org ")
    assert answer.status_code == 201
    assert answer.json()["account"] == {
        "email": "grace@example.org",
        "role": "user",
        "balance": 5_000,
        "has_password": True,
    }
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie  # plain http, on loopback
    again = sign_up(browser, "grace@example.org")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "email_taken")
    with site.database.reading() as session:
        account = find_account(session, "grace@example.org")
        entries = session.scalars(select(Entry).where(Entry.account_id == account.id)).all()
        assert sorted(entry.amount for entry in entries) == [-5_000, 5_000]
        assert find_errors(session) == []
        assert PASSWORD not in (account.password_hash or "")


def test_many_sign_ups_at_once_make_one_account(site):
    def attempt(_):
        with httpx.Client(base_url=site.url, trust_env=False, timeout=60) as client:
            return sign_up(client, "race@example.org").status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(attempt, range(6))) == [201, *[409] * 5]
    with site.database.reading() as session:
        assert find_account(session, "race@example.org").balance == 5_000


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"email": "nobody", "password": PASSWORD}, "email"),
        ({"email": "@example.org", "password": PASSWORD}, "email"),
        ({"email": "a@example.org", "password": "short"}, "password"),
        ({"email": "a@example.org", "password": "x" * 2000}, "password"),
        ({"email": "a@example.org"}, "password"),
        ({"email": 5, "password": PASSWORD}, "email"),
    ],
)
def test_wrong_sign_ups(browser, body, param):
    answer = browser.post("/account/sign-up", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert "set-cookie" not in answer.headers


def test_half_characters_and_nul_are_refused(browser):
    sign_up(browser, "halves@example.org")
    headers = {"content-type": "application/json", **token_of(browser)}
    whole = {"email": "a@example.org", "password": PASSWORD, "name": "k"}
    for path, param in (
        ("sign-up", "email"),
        ("sign-up", "password"),
        ("sign-in", "email"),
        ("sign-in", "password"),
        ("keys", "name"),
    ):
        body = json.dumps({**whole, param: whole[param] + "\ud800"})
        answer = browser.post(f"/account/{path}", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        assert answer.json()["message"] == "The text is not valid Unicode."
    answer = browser.post("/account/keys", json={"name": "k\0"}, headers=token_of(browser))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")
    assert answer.json()["message"] == "The name cannot hold the character NUL."
    assert sign_in(browser, "halves@example.org\0").status_code == 401


def test_wrong_address_and_wrong_password_look_alike(browser, monkeypatch):
    sign_up(browser, "alike@example.org")
    hashed = []
    real = passwords.password_matches
    monkeypatch.setattr(
        passwords, "password_matches", lambda stored, given: hashed.append(stored) or real(stored, given)
    )
    unknown, wrong = sign_in(browser, "nobody@example.org"), sign_in(browser, "alike@example.org", "wrong")
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.content == wrong.content
    # Both have hashed a password once, with the same parameters: the same work.
    first, second = (stored.rsplit("$", 2)[0] for stored in hashed)
    assert first == second


def test_an_account_without_password_cannot_be_signed_in_to(browser, site):
    create_account(site.database, "keyed@example.org")
    for password in ("", PASSWORD):
        assert sign_in(browser, "keyed@example.org", password).status_code == 401


def test_session_uses_the_api_and_is_charged(browser):
    sign_up(browser, "uses@example.org")
    body = {"input": data_url(), "labels": ["a", "b"]}
    answer = browser.post("/v1/classify", json=body, headers=token_of(browser))
    assert answer.status_code == 200
    assert answer.headers["x-credits-remaining"] == str(5_000 - 120)
    usage = browser.get("/account/usage").json()["data"]
    keys = {key["id"]: key for key in browser.get("/account/keys").json()["data"]}
    assert [(row["requests"], row["cost"]) for row in usage] == [(1, 120)]
    assert keys[usage[0]["key_id"]]["console"]
    lines = browser.get("/account/ledger").json()
    assert [(line["amount"], line["balance"]) for line in lines["data"]] == [(-120, 4_880), (5_000, 5_000)]
    page = browser.get("/account/ledger", params={"limit": 1}).json()
    assert page["has_more"]
    rest = browser.get("/account/ledger", params={"limit": 1, "before": page["data"][0]["id"]}).json()
    assert [(line["balance"], rest["has_more"]) for line in rest["data"]] == [(5_000, False)]


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_cookie_alone_changes_nothing(browser, token):
    sign_up(browser, f"forged{token and len(token)}@example.org")
    headers = {} if token is None else {"x-csrf-token": token}
    for method, path in (
        ("POST", "/account/sign-out"),
        ("POST", "/account/keys"),
        ("PUT", "/account/password"),
        ("DELETE", "/account/keys/1"),
        ("POST", "/v1/classify"),
    ):
        answer = browser.request(method, path, json={"name": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_token_missing"), path
    assert browser.get("/account/session").json()["account"] is not None


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_other_sites_are_refused(browser, headers):
    sign_up(browser, f"other{len(str(headers))}@example.org")
    answers = [
        browser.post("/account/sign-out", headers={**token_of(browser), **headers}),
        sign_in(browser, "other@example.org", **headers),
        sign_up(browser, "never@example.org", **headers),
    ]
    assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(403, "wrong_origin")}
    assert browser.get("/account/session").json()["account"] is not None


def test_a_form_of_another_site_cannot_sign_anybody_in(browser):
    sign_up(browser, "form@example.org")
    body = '{"email": "form@example.org", "password": "correct horse battery", "x": "="}'
    answer = browser.post("/account/sign-in", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 400


def test_stolen_cookie_is_worth_nothing_after_sign_out(browser, site):
    sign_up(browser, "stolen@example.org")
    stolen, headers = dict(browser.cookies), token_of(browser)
    assert browser.post("/account/sign-out", headers=headers).json()["account"] is None
    assert not browser.cookies
    with httpx.Client(base_url=site.url, cookies=stolen, trust_env=False) as thief:
        assert thief.get("/account/session").json()["account"] is None
        assert thief.get("/account/keys").status_code == 401
        assert thief.post("/v1/classify", json={}, headers=headers).status_code == 401


def test_token_changes_at_each_sign_in(browser, site):
    sign_up(browser, "rotate@example.org")
    before = dict(browser.cookies)
    assert sign_in(browser, "rotate@example.org").status_code == 200
    assert dict(browser.cookies) != before
    with httpx.Client(base_url=site.url, cookies=before, trust_env=False) as old:
        assert old.get("/account/session").json()["account"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"seen_at": datetime.now(UTC) - IDLE_TIME - timedelta(minutes=1)},
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
    ],
)
def test_sessions_end_by_themselves(browser, site, change):
    email = f"over{next(iter(change))}@example.org"
    sign_up(browser, email)
    assert browser.get("/account/keys").status_code == 200
    with site.database.transaction() as session:
        account = find_account(session, email)
        session.execute(
            update(BrowserSession).where(BrowserSession.account_id == account.id).values(**change)
        )
    assert browser.get("/account/keys").json()["error"]["code"] == "not_signed_in"


def test_use_keeps_a_session_but_not_beyond_its_age(browser, site):
    sign_up(browser, "long@example.org")
    with site.database.transaction() as session:
        (found,) = session.scalars(
            select(BrowserSession).join(Account).where(Account.email == "long@example.org")
        ).all()
        assert found.expires_at - found.created_at == WHOLE_TIME
        found.seen_at -= timedelta(hours=6)
        session_id, seen, expires = found.id, found.seen_at, found.expires_at
    assert browser.get("/account/keys").status_code == 200
    with site.database.reading() as session:
        found = session.get(BrowserSession, session_id)
        assert found is not None
        assert found.seen_at > seen
        assert found.expires_at == expires


def test_switched_off_account_is_out_at_once(browser, site):
    sign_up(browser, "off@example.org")
    with site.database.transaction() as session:
        find_account(session, "off@example.org").active = False
    assert browser.get("/account/keys").status_code == 401
    assert sign_in(browser, "off@example.org").status_code == 401


def test_password_change_ends_the_other_sessions(browser, site):
    sign_up(browser, "change@example.org")
    with httpx.Client(base_url=site.url, trust_env=False) as elsewhere:
        sign_in(elsewhere, "change@example.org")
        body = {"current": "wrong", "new": "another long one"}
        wrong = browser.put("/account/password", json=body, headers=token_of(browser))
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (403, "current")
        body["current"] = PASSWORD
        assert browser.put("/account/password", json=body, headers=token_of(browser)).status_code == 200
        assert browser.get("/account/keys").status_code == 200
        assert elsewhere.get("/account/keys").status_code == 401
        assert sign_in(elsewhere, "change@example.org").status_code == 401
        assert sign_in(elsewhere, "change@example.org", "another long one").status_code == 200


def test_operators_first_password_by_key(browser, site):
    create_account(site.database, "root@localhost", role="admin")
    key = create_key(site.database, "root@localhost", "first")
    bearer = {"authorization": f"Bearer {key}"}
    other = {"authorization": f"Bearer {site.key}"}
    assert browser.put("/account/password", json={"new": PASSWORD}, headers=other).status_code == 401
    assert browser.put("/account/password", json={"new": PASSWORD}, headers=bearer).status_code == 200
    assert sign_in(browser, "root@localhost").json()["account"]["role"] == "admin"
    with httpx.Client(base_url=site.url, trust_env=False) as again:  # it has one now
        assert again.put("/account/password", json={"new": PASSWORD}, headers=bearer).status_code == 401


def test_keys_over_http(browser, site):
    sign_up(browser, "keys@example.org")
    headers = token_of(browser)
    body = {"name": "laptop", "scopes": ["embed"], "days": 2}
    made = browser.post("/account/keys", json=body, headers=headers).json()
    secret = made["secret"]
    assert secret.startswith("sg2_")
    (listed, console) = browser.get("/account/keys").json()["data"]
    assert listed == {**made, "secret": None}
    assert console["console"]
    bearer = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=site.url, headers=bearer, trust_env=False) as program:
        assert program.post("/v1/embeddings", json={"input": "a"}).status_code == 200
        assert program.post("/v1/classify", json={}).status_code == 403
        assert program.get("/account/keys").status_code == 401  # a key makes no keys
        answer = browser.delete(f"/account/keys/{made['id']}", headers=headers)
        assert not answer.json()["works"]
        assert program.post("/v1/embeddings", json={"input": "a"}).status_code == 401
    for key_id in (console["id"], 1, 10**9):  # its own console, another's, nobody's
        assert browser.delete(f"/account/keys/{key_id}", headers=headers).status_code == 404
    wrong = browser.post("/account/keys", json={"name": "x", "scopes": ["admin"]}, headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "scopes[0]")
    with site.database.reading() as session:
        stored = session.get(ApiKey, made["id"])
        assert stored is not None
        assert secret not in (stored.key_hash, stored.shown)


def test_attempts_are_limited(start):
    server = start(ServeSettings(sign_in=SignInSettings(attempts=3)))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        sign_up(client, "guess@example.org")
        statuses = [sign_in(client, "Guess@example.org", str(number)).status_code for number in range(4)]
        assert statuses == [401, 401, 401, 429]
        refused = sign_in(client, "guess@example.org")  # also with the right one
        assert refused.json()["error"]["code"] == "too_many_attempts"
        assert 0 < int(refused.headers["retry-after"]) <= 120
        assert sign_in(client, "someone@example.org").status_code == 401
        ups = [sign_up(client, f"mass{number}@example.org").status_code for number in range(6)]
        assert ups == [*[201] * 5, 429]


@pytest.mark.parametrize(
    "other", ['prefs={"a":1}', "name=José", "flag", "foo(bar)=1", "x@y=1", "a=b=c", "=", ";;", "siglip2x=1"]
)
def test_cookies_of_others_beside_ours(site, other):
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        sign_up(client, "beside@example.org")
        token = sign_in(client, "beside@example.org").cookies["siglip2"]
    for cookies in (f"{other}; siglip2={token}", f"siglip2={token}; {other}"):
        headers = {b"cookie": cookies.encode()}
        said = httpx.get(f"{site.url}/account/session", headers=headers, trust_env=False).json()
        assert said["account"]["email"] == "beside@example.org"


@pytest.mark.parametrize(
    ("email", "password", "param"),
    [("my password", PASSWORD, "email"), ("new@example.org", "short", "password"), ("x", "short", "email")],
)
def test_what_is_wrong_about_a_sign_up(browser, email, password, param):
    answer = sign_up(browser, email, password)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_sign_up_can_be_closed_and_https_hardens_the_cookie(start):
    settings = SignInSettings(sign_up=False, public_url="https://photos.example")
    server = start(ServeSettings(sign_in=settings))
    create_account(server.database, "made@example.org", password=PASSWORD)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert sign_up(client, "new@example.org").json()["error"]["code"] == "sign_up_closed"
        assert not client.get("/account/session").json()["sign_up"]
        assert sign_in(client, "made@example.org", origin=server.url).status_code == 403
        answer = sign_in(client, "made@example.org", origin="https://photos.example")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-siglip2=sgs_")
        assert "Secure" in cookie
        assert "Domain" not in cookie


def test_open_server_has_no_accounts(start):
    server = start(ServeSettings(open=True))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/account/session").json()["accounts"] is False
        assert sign_up(client, "a@example.org").json()["error"]["code"] == "no_accounts"
        assert client.get("/account/keys").status_code == 404


def test_settings_of_the_environment():
    given = {
        "SIGLIP2_SIGN_UP": "0",
        "SIGLIP2_SIGN_UP_CREDIT": "7",
        "SIGLIP2_PUBLIC_URL": "https://a.example/",
    }
    found = SignInSettings.of_environment(given)
    assert (found.sign_up, found.sign_up_credit) == (False, 7)
    from siglip2.errors import InvalidInput

    for wrong in (
        {"SIGLIP2_SIGN_UP": "yes"},
        {"SIGLIP2_SIGN_UP_CREDIT": "-1"},
        {"SIGLIP2_SIGN_UP_CREDIT": str(2**53)},
        {"SIGLIP2_PUBLIC_URL": "a.example"},
        {"SIGLIP2_OPENID_ISSUER": "https://id.example"},
    ):
        with pytest.raises(InvalidInput):
            SignInSettings.of_environment(wrong)
