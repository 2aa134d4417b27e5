"""The OpenAPI document says all there is, its examples work, and schemathesis finds nothing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.serve.conftest import photo_file

from siglip2.search.collection import Collection
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.settings import ServeSettings

# What a schema cannot say, such as that an image must be readable, makes "valid" requests that are refused.
LEFT_OUT = "positive_data_acceptance"
OURS = r"^/(v1/(classify|label_sets|embeddings|score|rerank|multimodal|chat|hf|search|collections|vector|models|usage|organization|admin)|v2/|health|ready|metrics)"  # noqa: E501

# Not those that end the session or try passwords, which have limits of their own.
ACCOUNTS = r"^/account/(session|keys|usage|ledger|limits)"


@pytest.fixture(scope="module")
def documented(start, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documented")
    (folder / "photos").mkdir()
    for seed in range(3):
        photo_file(folder / "photos", seed)
    with Collection.open(folder / "c.siglip2", encoder) as collection:
        collection.add([folder / "photos"])
    settings = ServeSettings(collections={"photos": folder / "c.siglip2"}, requests_per_minute=10**7)
    server = start(settings, load_model=lambda source: encoder)
    create_account(server.database, "operator@example.org", credit=10**12, role="admin")
    return replace(server, key=create_key(server.database, "operator@example.org", "tests"))


@pytest.fixture
def document(documented):
    with documented.client() as client:
        return client.get("/openapi.json").json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_operation_is_described(document):
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("description"), where
        assert operation.get("tags"), where
        if "requestBody" in operation and "application/json" in operation["requestBody"]["content"]:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
            assert schema.get("examples"), where
        if path.startswith(("/v1", "/v2")):
            for status in ("400", "401", "429", "500", "503"):
                reference = operation["responses"][status]["content"]["application/json"]["schema"]["$ref"]
                assert reference.endswith("/ErrorAnswer"), (where, status)
            assert "retry-after" in operation["responses"]["429"]["headers"], where
            assert operation.get("security"), where
        if path in ("/account/keys", "/account/usage", "/account/limits", "/account/ledger"):
            assert operation["security"] == [{"APIKeyCookie": []}], where


def test_examples_work(documented, document):
    with documented.client() as client:
        for path, method, operation in operations(document):
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" not in content or not path.startswith(("/v1/", "/v2/")):
                continue
            schema = content["application/json"]["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
            for example in schema.get("examples", ()):
                answer = client.request(method, path.replace("{name}", "photos"), json=example)
                assert answer.is_success, (path, answer.text)


def run_schemathesis(server, tmp_path, phases, examples, paths=OURS, headers=()):
    pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")
    command = [
        str(Path(sys.executable).with_name("st")),
        "run",
        f"{server.url}/openapi.json",
        *(f"--header={header}" for header in headers or [f"Authorization: Bearer {server.key}"]),
        f"--phases={phases}",
        f"--max-examples={examples}",
        "--generation-deterministic",
        f"--include-path-regex={paths}",
        f"--exclude-checks={LEFT_OUT}",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-500:]
    return done.stdout


def signed_in(server, folder):
    """The headers of a browser in which somebody is signed in; its cookie goes into the folder's settings."""
    with server.client() as client:
        del client.headers["authorization"]
        body = {"email": "fuzz@example.org", "password": "correct horse battery"}
        answer = client.post("/account/sign-up", json=body)
        if answer.status_code == 409:
            answer = client.post("/account/sign-in", json=body)
        cookie = client.cookies["siglip2"]
    # Not as a header: schemathesis has to know it for what it is, to try what happens without.
    (folder / "schemathesis.toml").write_text(f'[auth.openapi.APIKeyCookie]\napi_key = "{cookie}"\n')
    return [f"x-csrf-token: {answer.json()['csrf_token']}"]


def test_schemathesis(documented, tmp_path):
    assert " passed" in run_schemathesis(documented, tmp_path, "examples,fuzzing", 8)


def test_schemathesis_of_accounts(documented, tmp_path):
    said = run_schemathesis(
        documented, tmp_path, "examples,fuzzing", 3, ACCOUNTS, signed_in(documented, tmp_path)
    )
    assert " passed" in said


@pytest.mark.slow
def test_schemathesis_at_length(documented, tmp_path):
    phases = "examples,coverage,fuzzing"
    assert " passed" in run_schemathesis(documented, tmp_path, phases, 100)
    assert " passed" in run_schemathesis(
        documented, tmp_path, phases, 100, ACCOUNTS, signed_in(documented, tmp_path)
    )


def test_all_methods_are_named(client):
    answer = client.request("PATCH", "/v1/label_sets")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert client.request("PATCH", "/v1/label_sets/x").headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"query": "a", "documents": ["b"], "return_documents": 0}, "return_documents"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": "1"}, "top_n"),
        ("/v1/score", {"queries": "a", "documents": []}, "documents"),
        ("/v2/embed", {"texts": ["a"], "embedding_types": []}, "embedding_types"),
    ],
)
def test_json_is_taken_at_its_word(client, path, body, param):
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
