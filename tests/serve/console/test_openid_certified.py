"""OpenID Connect at `oidc-provider`, a certified provider for Node.js, which insists on PKCE by itself.

NODE_PATH has to name the `node_modules` that has it (`npm install oidc-provider@8`).
"""

import os
import re
import shutil
import subprocess
import time

import httpx
import pytest
from tests.serve.console.conftest import expect
from tests.serve.servers import free_port

from siglip2.serve.settings import ServeSettings
from siglip2.serve.sign_in_settings import SignInSettings

pytestmark = pytest.mark.filterwarnings("ignore")

PROVIDER = """
const { pathToFileURL } = require("url");
(async () => {
  const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
  const { PORT, CALLBACK } = process.env;
  const issuer = `http://127.0.0.1:${PORT}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "console", client_secret: "a secret of the console", redirect_uris: [CALLBACK] }],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    findAccount: (context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: true }),
    }),
    pkce: { required: () => true, methods: ["S256"] },
    cookies: { keys: ["for a test"] },
  });
  provider.listen(Number(PORT), "127.0.0.1");
})();
"""


@pytest.fixture(scope="module")
def site(start, tmp_path_factory):
    pytest.importorskip("authlib", reason="needs authlib: pip install authlib")
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    if subprocess.run([node, "-e", 'require.resolve("oidc-provider")'], capture_output=True).returncode:
        pytest.skip("needs npm install oidc-provider@8, and NODE_PATH naming its node_modules")
    port = free_port()
    settings = SignInSettings(
        sign_up=False,
        sign_up_credit=777,
        openid_issuer=f"http://127.0.0.1:{port}",
        openid_client_id="console",
        openid_client_secret="a secret of the console",
    )
    server = start(ServeSettings(sign_in=settings))
    folder = tmp_path_factory.mktemp("provider")
    (folder / "provider.cjs").write_text(PROVIDER)
    environment = {**os.environ, "PORT": str(port), "CALLBACK": f"{server.url}/account/openid/callback"}
    log = (folder / "log").open("wb")
    process = subprocess.Popen([node, folder / "provider.cjs"], env=environment, stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{port}/.well-known/openid-configuration", folder / "log")
        yield server
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def _wait(process, address, log):
    until = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        try:
            httpx.get(address, trust_env=False).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return


def sign_in_at_provider(browser, address, who):
    """Fill in the provider's two forms, as a person would; where it sends the browser back to."""
    for form in (f"prompt=login&login={who}&password=x", "prompt=consent"):
        page = browser.get(address, follow_redirects=True)
        action = re.search(r'action="([^"]+)"', page.text)
        assert action is not None, page.text[:500]
        answer = browser.post(
            action[1], content=form, headers={"content-type": "application/x-www-form-urlencoded"}
        )
        address = answer.headers["location"]
    back = browser.get(address)
    assert back.status_code == 303
    return back.headers["location"]


def test_sign_in_and_again(site):
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as browser:
        away = browser.get("/account/openid").headers["location"]
        back = sign_in_at_provider(browser, away, "grace")
        assert back.startswith(f"{site.url}/account/openid/callback?")
        answer = browser.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        account = browser.get("/account/session").json()["account"]
        assert (account["email"], account["balance"]) == ("grace@example.org", 777)
        # The code is worth nothing a second time, and nothing without the cookie of the flow.
        again = browser.get(back)
        assert "problem=openid_state" in again.headers["location"]
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as other:
        assert "problem=openid_state" in other.get(back).headers["location"]


def test_a_code_with_another_verifier_lets_nobody_in(site):
    with httpx.Client(base_url=site.url, trust_env=False, timeout=30) as browser:
        away = browser.get("/account/openid").headers["location"]
        state, nonce, _ = browser.cookies["siglip2-openid"].split(".")
        back = sign_in_at_provider(browser, away, "mallory")
        browser.cookies.delete("siglip2-openid")
        browser.cookies.set("siglip2-openid", f"{state}.{nonce}.{'v' * 64}", domain="127.0.0.1", path="/")
        assert "problem=openid_failed" in browser.get(back).headers["location"]
        assert browser.get("/account/session").json()["account"] is None


def test_in_a_browser(site, chromium):
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{site.url}/console#/keys")
        page.get_by_role("link", name="Continue with single sign-on").click()
        page.fill("input[name=login]", "hedy")
        page.fill("input[name=password]", "x")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{site.url}/console**")
        expect(page.locator("#picture")).to_be_attached()
        expect(page.locator("#who .email")).to_contain_text("hedy@example.org")
        page.locator("#sign-out").click()
        expect(page.locator("h1")).to_have_text("Sign in")
        # The operator makes no other accounts here.
        expect(page.get_by_role("button", name="Create an account")).to_have_count(0)
        page.goto(f"{site.url}/console?problem=openid_denied")
        expect(page.get_by_role("alert")).to_contain_text("did not let you in")
