"""Every `siglip2 serve` of docs/operate.md starts a service; released models are stood in for by `nano`."""

import re
import shlex
from importlib.resources import files
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from tests.serve.conftest import data_url, photo_file

import siglip2
from siglip2.cli.main import run
from siglip2.search.collection import Collection

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text("utf-8")
TESTED_ELSEWHERE = ("--ray", "--telemetry")
RELEASED = re.compile(r"(base|so400m)-patch16-[\w-]+")


def commands():
    said = " ".join(PAGE.split())
    found = [
        *re.findall(r"`siglip2 serve([^`]*)`", said),
        *re.findall(r"^siglip2 serve(.*)$", PAGE, re.MULTILINE),
    ]
    return sorted({each.strip() for each in found if not any(name in each for name in TESTED_ELSEWHERE)})


def options():
    """What the bullets about image URLs and collections add."""
    said = " ".join(PAGE.split())
    found = re.findall(r"`(--(?:fetch|no-fetch|collection|image-price|text-price|currency)[^`]*)`", said)
    return [each for each in found if " " in each or each.startswith("--no-")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    if not (files("siglip2") / "assets" / "nano").is_dir():
        pytest.skip("the bundled model nano is not there yet")
    folder = tmp_path_factory.mktemp("operate")
    (folder / "photos").mkdir()
    photo_file(folder / "photos")
    with Collection.open(folder / "PATH", siglip2.load("nano")) as collection:
        collection.add([folder / "photos"])
    return folder


@pytest.fixture
def served(home, tmp_path, monkeypatch, capsys):
    """Run a command up to the point where it would listen, and ask the service there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(home)

    def serve(words, check):
        asked = []

        def listen(app, **options):
            key = re.search(r"sg2_[\w-]{43}", capsys.readouterr().out)
            headers = {"Authorization": f"Bearer {key[0]}"} if key else {}
            with TestClient(app, "http://127.0.0.1:8000", headers=headers) as caller:
                check(caller, key is not None)
            asked.append(options["host"])

        monkeypatch.setattr(uvicorn, "run", listen)
        assert run(["serve", *words]) == 0
        assert asked == ["127.0.0.1"]

    return serve


def test_all_were_found():
    assert len(commands()) == 4
    assert {each.split()[0] for each in options()} >= {
        "--no-fetch-urls",
        "--fetch-hosts",
        "--fetch-networks",
        "--fetch-ports",
        "--collection",
        "--currency",
    }


@pytest.mark.parametrize("command", commands())
def test_command(command, served):
    words = shlex.split(RELEASED.sub("nano", command))

    def check(caller, has_key):
        assert has_key != ("--open" in words)
        body = {"input": data_url(), "labels": ["cat", "dog"]}
        for model in [entry["id"] for entry in caller.get("/v1/models").json()["data"]]:
            assert caller.post("/v1/classify", json={**body, "model": model}).status_code == 200
        said = caller.post("/v1/admin/models/nano/reload").json()
        assert said["object"] == "model.reloaded"

    served(words, check)


def test_options_together(served):
    words: dict[str, list[str]] = {}
    for option in options():
        name = None
        for word in shlex.split(option):
            name = word if word.startswith("--") else name
            assert name is not None
            words.setdefault(name, [])
            if word != name and word not in words[name]:
                words[name].append(word)

    def check(caller, has_key):
        found = caller.post("/v1/search", json={"collection": "photos", "query": "a cat"}).json()
        assert [hit["name"] for hit in found["data"]] == ["photo0.png"]
        body = {"input": "https://upload.wikimedia.org/a.jpg", "labels": ["cat"]}
        assert caller.post("/v1/classify", json=body).json()["error"]["code"] == "image_url_blocked"

    served([each for name, given in words.items() for each in (name, *given)], check)
