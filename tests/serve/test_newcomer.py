"""One command starts a service; with the key it prints, the README's lines classify by URL and by base64."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from tests.serve.conftest import photo_file
from tests.serve.processes import running_service, web_server

README = Path(__file__).resolve().parents[2] / "README.md"
ADDRESS = "http://127.0.0.1:8000"
PHOTO = re.compile(r"http://images\.[\w./]+\.jpg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    if not (files("siglip2") / "assets" / "nano").is_dir():
        pytest.skip("the bundled model nano is not there yet")
    made = tmp_path_factory.mktemp("newcomer")
    (made / "photos").mkdir()
    photo_file(made).rename(made / "photos" / "cat.jpg")
    shutil.copy(made / "photos" / "cat.jpg", made / "photo.jpg")
    return made


@pytest.fixture(scope="module")
def web(folder):
    with web_server(folder) as address:
        yield address


@pytest.fixture(scope="module")
def service(folder, web):
    """As the README starts it; loopback is opened for the photo that stands for one on the internet."""
    port = web.rsplit(":", 1)[1]
    opened = ("--fetch-networks", "127.0.0.0/8", "--fetch-ports", "80", port)
    with running_service(folder, "--model", "nano", *opened) as running:
        yield running


def sh(script, service):
    environment = {**os.environ, "SIGLIP2_KEY": service.key, "no_proxy": "*"}
    done = subprocess.run(
        ["bash", "-c", f"set -eo pipefail\n{script}"],
        cwd=service.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace("}{", "},{").join("[]"))


def test_lines_of_the_readme(service, web):
    (block,) = re.findall(r"^```bash\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert "siglip2 serve --model nano" in README.read_text("utf-8")
    assert len(PHOTO.findall(block)) == 1
    script = PHOTO.sub(f"{web}/photos/cat.jpg", block).replace(ADDRESS, service.url)
    by_url, by_bytes = sh(script, service)
    assert by_url["model"] == "nano"
    assert by_url["data"] == by_bytes["data"]
    assert {each["label"] for each in by_url["data"][0]["predictions"]} == {"tabby cat", "espresso"}


def test_the_line_that_is_printed(service):
    (line,) = re.findall(r"^try: (.*)$", service.output, re.MULTILINE)
    (answer,) = sh(line, service)
    assert answer["data"][0]["prediction"] in ("cat", "dog")
    assert service.output.count(service.key) == 2  # told, and in the line


def test_the_key_is_shown_once_and_loopback_is_closed_by_default(service, web):
    with running_service(
        service.home, "--image-price", "7", "--text-price", "2", "--currency", "euro"
    ) as again:
        assert again.key == ""
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=again.url, headers=headers, trust_env=False, timeout=30) as client:
            body = {"input": [f"{web}/photo.jpg"], "labels": ["a", "b"]}
            refused = client.post("/v1/classify", json=body)
            assert refused.json()["error"]["code"] in ("image_url_blocked", "image_fetch_failed")
            answer = client.post("/v1/embeddings", json={"input": ["a", "b", "c"]})
            assert answer.headers["x-credits-cost"] == "6"
            assert client.get("/account/session").json()["currency"] == "euro"


def test_on_postgresql_and_redis(folder, postgresql, redis_url, tmp_path):
    """As an operator of more than one machine starts it; the commands see the same accounts."""
    database = f"{postgresql}/postgres"
    storage = ("--rate-limit-storage", redis_url, "--requests-per-minute", "2")
    with running_service(tmp_path, "--database", database, *storage) as running:
        headers = {"Authorization": f"Bearer {running.key}"}
        with httpx.Client(base_url=running.url, headers=headers, trust_env=False, timeout=30) as client:
            said = [client.post("/v1/embeddings", json={"input": "a cat"}) for _ in range(3)]
    assert [answer.status_code for answer in said] == [200, 200, 429]
    command = [sys.executable, "-m", "siglip2.cli.main", "accounts"]
    done = subprocess.run(
        [*command, "usage", "operator@localhost", "--database", database], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[1].split("\t")[1:4] == ["1", "nano", "2"]
    checked = subprocess.run([*command, "check", "--database", database], capture_output=True, text=True)
    assert checked.stdout == "the ledger adds up\n"
