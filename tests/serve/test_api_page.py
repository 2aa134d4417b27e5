"""Every block of docs/api.md runs as it stands, but for address, key and photo."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.serve.conftest import data_url, photo_file

from siglip2.search.collection import Collection
from siglip2.serve.settings import ServeSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def served(start, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(photo_file(folder), folder / "photo.jpg")
    with Collection.open(folder / "photos.siglip2", encoder) as collection:
        collection.add([folder / "photo.jpg"])
    return folder, start(ServeSettings(collections={"photos": folder / "photos.siglip2"}))


@pytest.mark.parametrize("block", blocks("bash"))
def test_commands(block, served):
    folder, server = served
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    environment = {**os.environ, "SIGLIP2_KEY": server.key, "no_proxy": "*"}
    script = "set -eo pipefail\n" + block.replace(ADDRESS, server.url).replace("curl -s", "curl -sSf")
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.replace("}{", "},{").join("[]"))


@pytest.mark.parametrize("block", blocks("python"))
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_python(block, served):
    pytest.importorskip("openai", reason="needs openai: pip install openai")
    _, server = served
    names = {"photo": data_url()}
    exec(block.replace(ADDRESS, server.url).replace("sg2_...", server.key), names)
    names["client"].close()  # pyright: ignore[reportAttributeAccessIssue]


def test_every_route_is_listed(served):
    _, server = served
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    missing = []
    for path in paths:
        if not path.startswith(("/v1", "/v2")):
            continue
        stem = path.split("/{")[0]
        if not any(name in PAGE for name in (stem, path.replace("{name}", "NAME"))):
            missing.append(path)
    assert missing == []


def test_codes_are_those_of_the_service():
    source = "\n".join(
        path.read_text("utf-8")
        for path in (Path(__file__).resolve().parents[2] / "src/siglip2/serve").rglob("*.py")
    )
    table = PAGE.split("## Errors")[1]
    codes = set(re.findall(r"`([a-z_]+_[a-z_]+)`", table)) | {"missing", "overloaded"}
    assert {code for code in codes if f'"{code}"' not in source and code != "retry_after"} == set()
