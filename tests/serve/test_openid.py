"""OpenID Connect against a real provider that runs here, and answers that must not let anybody in."""

import base64
import hashlib
import threading
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select

from siglip2.errors import InvalidInput
from siglip2.serve.accounts.store import create_account, find_account
from siglip2.serve.accounts.tables import Entry
from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

# The provider itself still uses a part of authlib that is to go.
pytestmark = pytest.mark.filterwarnings("ignore")

PEOPLE = {
    "grace": {"email": "Grace@example.org", "email_verified": True},
    "linus": {"email": "linus@example.org", "email_verified": True},
    "eve": {"email": "victim@example.org", "email_verified": True},
    "mallory": {"email": "root@example.org", "email_verified": True},
    "unsure": {"email": "unsure@example.org", "email_verified": False},
    "nameless": {},
}


class PkceGuard:
    """Before the provider, which does not look at PKCE: a code needs its challenge's verifier."""

    def __init__(self, app):
        self.app = app
        self.challenges: dict[str, str] = {}
        self.exchanges = 0

    def __call__(self, environ, start_response):
        asked = parse_qs(environ.get("QUERY_STRING", ""))

        def start(status, headers, *rest):
            for name, value in headers:
                if name.lower() == "location" and "code_challenge" in asked:
                    for code in parse_qs(urlsplit(value).query).get("code", ()):
                        assert asked["code_challenge_method"] == ["S256"]
                        self.challenges[code] = asked["code_challenge"][0]
            return start_response(status, headers, *rest)

        if environ["PATH_INFO"] == "/oauth2/token":
            import io

            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            form = parse_qs(body.decode())
            digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
            made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if self.challenges.get(form["code"][0]) != made:
                start_response("400 BAD REQUEST", [("Content-Type", "application/json")])
                return [b'{"error": "invalid_grant"}']
            self.exchanges += 1
        return self.app(environ, start)


@pytest.fixture(scope="module")
def provider():
    import warnings

    pytest.importorskip("authlib", reason="needs authlib: pip install authlib")
    pytest.importorskip("joserfc", reason="needs joserfc: pip install joserfc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mock = pytest.importorskip(
            "oidc_provider_mock", reason="needs a provider: pip install oidc-provider-mock"
        )
        from werkzeug.serving import make_server

        users = [mock.User(sub=sub, claims=claims) for sub, claims in PEOPLE.items()]
        guard = PkceGuard(mock.app(user_claims=users, require_nonce=True))
    server = make_server("127.0.0.1", 0, guard, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", guard
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def site(start, provider):
    settings = SignInSettings(
        sign_up=False,
        sign_up_credit=777,
        openid_issuer=provider[0],
        openid_client_id="console",
        openid_client_secret="secret",
        openid_name="Example ID",
    )
    return start(ServeSettings(sign_in=settings))


@pytest.fixture
def browser(site):
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as client:
        yield client


def go(browser, who):
    """To the provider, where somebody says who they are; the address to which it sends the browser back."""
    away = browser.get("/account/openid").headers["location"]
    asked = parse_qs(urlsplit(away).query)
    assert {"state", "nonce", "code_challenge"} <= set(asked)
    assert asked["scope"] == ["openid email"]
    data = {"action": "deny"} if who is None else {"sub": who}
    return httpx.post(away, data=data, trust_env=False, timeout=30).headers["location"]


def problem(answer):
    assert answer.status_code == 303
    return parse_qs(urlsplit(answer.headers["location"]).query).get("problem", [None])[0]


def who(browser):
    account = browser.get("/account/session").json()["account"]
    return account and account["email"]


def test_first_and_second_time(browser, site):
    assert browser.get("/account/session").json()["openid"] == "Example ID"
    for _ in range(2):
        answer = browser.get(go(browser, "grace"))
        assert (problem(answer), answer.headers["location"]) == (None, "/console")
        assert who(browser) == "grace@example.org"
        token = {"x-csrf-token": browser.get("/account/session").json()["csrf_token"]}
        assert browser.post("/account/sign-out", headers=token).status_code == 200
    with site.database.reading() as session:
        account = find_account(session, "grace@example.org")
        own = session.scalars(select(Entry.amount).where(Entry.account_id == account.id)).all()
        assert (account.balance, sorted(own)) == (777, [-777, 777])  # the first credit, once


def test_operators_account_is_taken_over_and_no_other(browser, site):
    create_account(site.database, "linus@example.org", credit=5)
    assert problem(browser.get(go(browser, "linus"))) is None
    assert browser.get("/account/session").json()["account"]["balance"] == 5
    browser.cookies.clear()
    create_account(site.database, "victim@example.org", password="correct horse battery")
    create_account(site.database, "root@example.org", role="admin")
    for sub in ("eve", "mallory", "unsure"):
        assert problem(browser.get(go(browser, sub))) == "openid_taken"
        assert who(browser) is None
    assert problem(browser.get(go(browser, "nameless"))) == "openid_email"


def test_switched_off_account_stays_out(browser, site):
    create_account(site.database, "off@example.org")
    browser.get(go(browser, "grace"))
    with site.database.transaction() as session:
        find_account(session, "grace@example.org").active = False
    assert who(browser) is None
    assert problem(browser.get(go(browser, "grace"))) == "openid_failed"
    with site.database.transaction() as session:
        find_account(session, "grace@example.org").active = True


def test_denied(browser):
    back = go(browser, None)
    assert "error=access_denied" in back
    # The state has to be sent back with errors too, which this provider leaves out.
    state = browser.cookies["siglip2-openid"].split(".")[0]
    assert problem(browser.get(f"{back}&state={state}")) == "openid_denied"


def test_answers_that_let_nobody_in(browser, site, provider):
    back = go(browser, "linus")
    with httpx.Client(base_url=site.url, trust_env=False) as other:  # another browser gets the link
        assert problem(other.get(back)) == "openid_state"
        other.get("/account/openid")  # it has begun a flow of its own
        assert problem(other.get(back)) == "openid_state"
    wrong = back.replace("state=", "state=x")
    assert problem(browser.get(wrong)) == "openid_state"
    assert problem(browser.get(back)) == "openid_state"  # one try for each flow
    assert problem(browser.get(go(browser, "linus") + "x")) in ("openid_failed", "openid_state")
    assert who(browser) is None


@pytest.mark.parametrize("part", ["nonce", "verifier"])
def test_a_changed_cookie_does_not_fit_the_code(browser, provider, part):
    back = go(browser, "linus")
    name = "siglip2-openid"
    state, nonce, verifier = browser.cookies[name].split(".")
    planted = {"nonce": f"{state}.other.{verifier}", "verifier": f"{state}.{nonce}.{'v' * 64}"}[part]
    exchanges = provider[1].exchanges
    browser.cookies.clear()
    browser.cookies.set(name, planted, domain="127.0.0.1", path="/")
    assert problem(browser.get(back)) == "openid_failed"
    assert provider[1].exchanges - exchanges == (1 if part == "nonce" else 0)
    assert who(browser) is None


def test_tokens_that_are_not_for_us(provider):
    import asyncio

    pytest.importorskip("joserfc")
    from joserfc import jwt
    from joserfc.jwk import KeySet, OctKey, RSAKey

    from siglip2.serve.openid import Provider

    settings = SignInSettings(openid_issuer=provider[0], openid_client_id="console")
    ours = Provider(settings)
    key = RSAKey.generate_key(2048, {"kid": "a"}, private=True)
    ours._keys = KeySet([key])

    async def asked(client):
        return None

    ours._ask = asked  # pyright: ignore[reportAttributeAccessIssue]
    good = {"iss": provider[0], "aud": "console", "sub": "x", "nonce": "n", "exp": 4102444800}
    head = {"alg": "RS256", "kid": "a"}

    def verify(claims, head=head, signer: RSAKey | OctKey = key):
        token = jwt.encode(head, claims, signer, algorithms=[head["alg"]])
        return asyncio.run(ours._verified(None, token, "n"))  # pyright: ignore[reportArgumentType]

    assert verify(good)["sub"] == "x"
    assert verify({**good, "aud": ["console"]})["sub"] == "x"
    faults = [
        {**good, "iss": "https://evil.example"},
        {**good, "aud": "another"},
        {**good, "nonce": "m"},
        {**good, "exp": 1},
        {**good, "azp": "another"},
        *({name: value for name, value in good.items() if name != left} for left in good),
    ]
    for claims in faults:
        with pytest.raises(Exception, match=r".+"):
            verify(claims)
    with pytest.raises(Exception, match=r".+"):
        verify(good, signer=RSAKey.generate_key(2048, {"kid": "a"}, private=True))
    with pytest.raises(Exception, match=r".+"):
        verify(good, {"alg": "HS256", "kid": "a"}, OctKey.import_key("secret"))


def test_provider_out_of_reach_and_none_at_all(start, client):
    settings = SignInSettings(openid_issuer="http://127.0.0.1:9", openid_client_id="console")
    server = start(ServeSettings(sign_in=settings))
    with httpx.Client(base_url=server.url, trust_env=False) as browser:
        assert problem(browser.get("/account/openid")) == "openid_failed"
    assert client.get("/account/openid").status_code == 404
    with pytest.raises(InvalidInput, match="https"):
        SignInSettings(openid_issuer="http://id.example", openid_client_id="console")
