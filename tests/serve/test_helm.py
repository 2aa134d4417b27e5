"""The Helm chart: without faults that Helm's linter knows, valid for Kubernetes, in step with the service."""

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from siglip2.serve.sign_in_settings import SignInSettings

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy/helm/siglip2"
SHARED = {"database": {"secret": "database"}, "rateLimits": {"secret": "redis"}}
WHOLE = {
    **SHARED,
    "replicas": 2,
    "models": ["nano", "big=so400m-patch16-naflex"],
    "publicUrl": "https://photos.example",
    "signUp": {"enabled": False, "credit": 1_000_000},
    "openid": {"issuer": "https://id.example", "clientId": "console", "secret": "openid"},
    "fetch": {"enabled": True, "hosts": ["images.example"]},
    "ingress": {"enabled": True, "host": "photos.example", "tlsSecret": "tls", "className": "nginx"},
    "autoscaling": {"enabled": True},
}
CASES = {"defaults": {}, "shared": {**SHARED, "replicas": 3}, "whole": WHOLE}


@pytest.fixture(scope="module")
def helm():
    return pytest.importorskip("helm_python", reason="needs Helm's library: pip install helm-python-sdk")


def rendered(helm, values):
    """Kubernetes' objects by kind."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install pyyaml")
    chart = helm.Chart.load(CHART)
    chart.validate_schema(values)
    texts = chart.render(values, name="demo", namespace="models")
    found = [yaml.safe_load(text) for path, text in texts.items() if path.endswith(".yaml")]
    return {each["kind"]: each for each in found if each}


@pytest.mark.parametrize("case", CASES)
def test_linter(helm, case):
    said = helm.chart.lint(CHART, CASES[case], strict=True)
    assert said["errors"] == []
    assert [each for each in said["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("case", CASES)
def test_objects_are_valid(helm, case):
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    objects = rendered(helm, CASES[case])
    assert {"Deployment", "Service"} <= set(objects)
    for each in objects.values():
        kubernetes.validate(each, kubernetes.latest_version().rsplit(".", 1)[0], strict=True)


def test_what_needs_what(helm):
    plain = rendered(helm, {})
    assert set(plain) == {"Deployment", "Service", "PersistentVolumeClaim"}
    assert plain["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    whole = rendered(helm, WHOLE)
    assert set(whole) == {"Deployment", "Service", "Ingress", "HorizontalPodAutoscaler"}
    paths = {each["path"] for each in whole["Ingress"]["spec"]["rules"][0]["http"]["paths"]}
    assert not paths & {"/metrics", "/health", "/ready"}
    (container,) = whole["Deployment"]["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["SIGLIP2_SIGN_UP_CREDIT"] == "1000000"
    assert given["SIGLIP2_OPENID_CLIENT_SECRET"] is None  # from the Secret alone


def environment(helm, values):
    (container,) = rendered(helm, values)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}


def seen_behind_proxies(believed, peer):
    """Address and scheme of a request that a proxy hands on, as the service sees them."""
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": headers}
    asyncio.run(ProxyHeadersMiddleware(app, trusted_hosts=believed)(scope, None, None))  # pyright: ignore[reportArgumentType]
    return seen["client"][0], seen["scheme"]


def test_callers_behind_the_ingress_have_addresses_of_their_own(helm):
    ingress = {"ingress": {"enabled": True, "host": "photos.example"}}
    believed = environment(helm, ingress)["FORWARDED_ALLOW_IPS"]
    for peer in ("10.42.0.7", "172.16.3.4", "192.168.1.2", "fd00::7"):
        assert seen_behind_proxies(believed, peer) == ("203.0.113.9", "https")
    assert seen_behind_proxies(believed, "198.51.100.1") == ("198.51.100.1", "http")
    named = environment(helm, {**ingress, "trustedProxies": ["10.1.2.3", "fd00::/8"]})
    assert named["FORWARDED_ALLOW_IPS"] == "10.1.2.3,fd00::/8"
    assert "FORWARDED_ALLOW_IPS" not in environment(helm, {})


def test_the_ingress_says_where_browsers_find_the_service(helm):
    ingress = {"enabled": True, "host": "photos.example"}
    assert "SIGLIP2_PUBLIC_URL" not in environment(helm, {"ingress": ingress})  # the proxy says which scheme
    secure = {"ingress": {**ingress, "tlsSecret": "tls"}}
    assert environment(helm, secure)["SIGLIP2_PUBLIC_URL"] == "https://photos.example"
    any_of = {"ingress": {**ingress, "tlsSecret": "tls", "host": "*.example"}}
    assert "SIGLIP2_PUBLIC_URL" not in environment(helm, any_of)
    other = {**secure, "publicUrl": "https://other.example"}
    assert environment(helm, other)["SIGLIP2_PUBLIC_URL"] == "https://other.example"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"replicas": 2}, "PostgreSQL"),
        ({"autoscaling": {"enabled": True}}, "PostgreSQL"),
        ({"openid": {"issuer": "https://id.example"}}, "clientId"),
        ({"openid": {"issuer": "http://id.example", "clientId": "c"}}, "issuer"),
        ({"ingress": {"enabled": True}}, "host"),
        ({"publicUrl": "photos.example"}, "publicUrl"),
        ({"trustedProxies": ["ingress"]}, "trustedProxies"),
        ({"replica": 2}, "replica"),
        ({"models": []}, "models"),
    ],
)
def test_wrong_values_are_refused(helm, values, why):
    with pytest.raises(helm.HelmError, match=why):
        rendered(helm, values)


@pytest.mark.parametrize("case", CASES)
def test_service_understands_what_it_is_told(helm, case):
    (container,) = rendered(helm, CASES[case])["Deployment"]["spec"]["template"]["spec"]["containers"]
    SignInSettings.of_environment({each["name"]: each.get("value", "x") for each in container["env"]})
    words = container["args"]
    assert words[0] == "serve"
    command = [sys.executable, "-m", "siglip2.cli.main", "serve", "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, timeout=60)
    known = set(re.findall(r"--[a-z-]+", helped.stdout))
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known


def test_versions_are_those_of_the_package():
    package = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"appVersion: {package}\n" in (CHART / "Chart.yaml").read_text("utf-8")


def test_container_user_is_that_of_the_image():
    user = re.search(r"^USER (\d+)", (REPOSITORY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert user is not None
    assert f"runAsUser: {user[1]}" in (CHART / "templates/deployment.yaml").read_text("utf-8")
