"""The console: what it may load, what is given away, and the heat maps behind it."""

import re
from pathlib import Path

import pytest
from tests.serve.conftest import data_url, png

from siglip2.serve.routes.console import ASSETS

FOLDER = Path(__file__).resolve().parents[2] / "src/siglip2/serve/console"
LABELS = [{"label": name, "prompts": [name]} for name in "ab"]
PARTS = ("/console", *(f"/console/{name}" for name in sorted(ASSETS)))


@pytest.mark.parametrize("path", PARTS)
def test_parts_come_under_a_strict_policy(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_is_served(client):
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {*ASSETS, "index.html"}


def test_page_has_nothing_inline_and_no_other_host(client):
    page = client.get("/console").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page)
    assert "//" not in page.replace("<!doctype html>", "")


@pytest.mark.parametrize("name", sorted(name for name in ASSETS if name.endswith(".js")))
def test_scripts_make_no_markup_and_know_no_other_host(name):
    script = (FOLDER / name).read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script
    )
    hosts = set(re.findall(r"https?://[\w.]+", script))
    assert hosts <= {"http://www.w3.org"}, hosts


def test_home_leads_to_the_console(client):
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/console")


@pytest.mark.parametrize("name", ["index.html", "..%2Fapp.py", "console.py", "..%2f..%2fconfig.py"])
def test_nothing_else_is_given(client, name):
    answer = client.get(f"/console/{name}")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_heat_map_is_that_of_the_library_and_charged_as_one_image(client, encoder):
    from siglip2.heatmap import similarity_map

    answer = client.post("/v1/heatmap", json={"input": {"image": data_url(3)}, "labels": LABELS})
    said = answer.json()
    assert answer.headers["x-credits-cost"] == "120"
    (patches,) = encoder.patch_features([png(3)])
    (text,) = encoder.embed_texts(["b"])
    assert said["grid"] == list(patches.grid)
    assert [each["label"] for each in said["data"]] == ["a", "b"]
    assert said["data"][1]["similarity"] == pytest.approx(
        similarity_map(encoder.checkpoint, patches, text), abs=1e-4
    )


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": {"image": data_url()}}, 400, "labels"),
        ({"input": {"image": data_url()}, "labels": []}, 400, "labels"),
        ({"input": {"image": data_url()}, "labels": [str(n) for n in range(17)]}, 400, "labels"),
        ({"input": {"text": "a"}, "labels": ["a"]}, 400, "input.text"),
        ({"input": {"image": "aGVsbG8="}, "labels": ["a"]}, 422, "input.image"),
    ],
)
def test_wrong_heat_maps_cost_nothing(client, body, status, param):
    before = client.get("/v1/usage").json()
    answer = client.post("/v1/heatmap", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert client.get("/v1/usage").json() == before


def test_linked_pictures_go_through_the_fetcher(client):
    answer = client.post("/console/picture", json={"url": "http://127.0.0.1/x.png"})
    assert answer.json()["error"]["code"] in ("image_url_blocked", "image_fetch_failed")
    answer = client.post("/console/picture", json={"url": data_url()})
    assert answer.headers["content-type"] == "image/jpeg"
    del client.headers["authorization"]
    assert client.post("/console/picture", json={"url": data_url()}).status_code == 401
