"""Several models, and one that is loaded anew while requests run."""

import threading

import numpy as np
import pytest
from tests.serve.conftest import data_url, png
from tests.tiny_model import tiny_encoder

from siglip2.errors import InvalidInput, ModelNotFound
from siglip2.serve.accounts.store import create_account, create_key
from siglip2.serve.models import parse_models
from siglip2.serve.settings import ServeSettings


class Shelf:
    """What `load` finds; the test changes it."""

    def __init__(self, folder):
        self.folder, self.seeds = folder, {"other-source": 1, "tiny": 2}

    def __call__(self, source):
        if source not in self.seeds:
            raise ModelNotFound(f"no model {source} in {self.folder}")
        return tiny_encoder(self.folder, seed=self.seeds[source])


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


@pytest.fixture
def pair(start, shelf):
    settings = ServeSettings(
        other_models=("other",), sources={"other": "other-source"}, requests_per_minute=10**6
    )
    server = start(settings, load_model=shelf)
    create_account(server.database, "operator@example.org", credit=10**6, role="admin")
    server.admin = create_key(server.database, "operator@example.org", "admin")
    return server


def embed(client, model=None):
    answer = client.post("/v1/embeddings", json={"model": model, "input": data_url()})
    assert answer.is_success, answer.text
    return np.array(answer.json()["data"][0]["embedding"]), answer.json()["model"]


def test_requests_pick_a_model(pair, encoder, tmp_path):
    with pair.client() as client:
        mine, name = embed(client)
        others, other = embed(client, "other")
        aliased, same = embed(client, "siglip2")
        assert [entry["id"] for entry in client.get("/v1/models").json()["data"]] == [
            "tiny",
            "other",
            "siglip2",
        ]
        assert client.get("/v1/models/other").json()["ready"]
        assert client.post("/v1/embeddings", json={"model": "third", "input": "x"}).status_code == 404
        metrics = client.get("/metrics").text
    assert (name, other, same) == ("tiny", "other", "tiny")
    np.testing.assert_allclose(mine, encoder.embed_images([png()])[0], atol=1e-5)
    np.testing.assert_allclose(others, tiny_encoder(tmp_path, seed=1).embed_images([png()])[0], atol=1e-5)
    np.testing.assert_array_equal(mine, aliased)
    assert 'siglip2_images_batches{model="other"}' in metrics


def test_reload_while_requests_run(pair, shelf, tmp_path):
    shelf.seeds["other-source"] = 3
    failures, stop = [], threading.Event()

    body = {"model": "other", "input": data_url(), "labels": ["a"]}

    def keep_asking():
        with pair.client() as client:
            while not stop.is_set():
                answer = client.post("/v1/classify", json=body)
                if not answer.is_success:
                    failures.append(answer.text)

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    with pair.client() as client:
        before, _ = embed(client, "other")
        headers = {"Authorization": f"Bearer {pair.admin}"}
        for _ in range(3):
            reloaded = client.post("/v1/admin/models/other/reload", headers=headers)
            assert reloaded.is_success, reloaded.text
        after, _ = embed(client, "other")
        stop.set()
        for thread in threads:
            thread.join()
        health = client.get("/health").status_code
    fresh = tiny_encoder(tmp_path, seed=3)
    assert failures == []
    assert health == 200
    assert reloaded.json()["fingerprint"] == fresh.fingerprint
    np.testing.assert_allclose(after, fresh.embed_images([png()])[0], atol=1e-5)
    assert np.abs(after - before).max() > 0.01


def test_a_reload_that_fails_changes_nothing(pair, shelf):
    with pair.client() as client:
        before, _ = embed(client, "other")
        del shelf.seeds["other-source"]
        headers = {"Authorization": f"Bearer {pair.admin}"}
        answer = client.post("/v1/admin/models/other/reload", headers=headers)
        after, _ = embed(client, "other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_failed")
    assert str(shelf.folder) not in answer.text
    np.testing.assert_array_equal(before, after)


def test_a_reload_of_damaged_files_changes_nothing(pair, shelf, monkeypatch):
    def damaged(source):
        raise ValueError(f"size in {shelf.folder} is no number")

    monkeypatch.setattr(Shelf, "__call__", lambda self, source: damaged(source))
    with pair.client() as client:
        before, _ = embed(client, "other")
        headers = {"Authorization": f"Bearer {pair.admin}"}
        answer = client.post("/v1/admin/models/other/reload", headers=headers)
        after, _ = embed(client, "other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_failed")
    assert str(shelf.folder) not in answer.text
    np.testing.assert_array_equal(before, after)


def test_only_the_operator_reloads(pair):
    with pair.client() as client:
        answer = client.post("/v1/admin/models/other/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_only")
        missing = client.post("/v1/admin/models/no/reload", headers={"Authorization": f"Bearer {pair.admin}"})
        assert missing.status_code == 404
        assert client.post("/v1/admin/models/no/reload", headers={"Authorization": "x"}).status_code == 401


def test_names_of_models(tmp_path):
    (tmp_path / "weights").mkdir()
    folder = str(tmp_path / "weights")
    expected = {"nano": "nano", "big": "so400m", "weights": folder}
    assert parse_models(("nano", "big=so400m", folder)) == expected
    for wrong in (("nano", "nano"), ("=x",), ("x=",), (folder, "weights=nano")):
        with pytest.raises(InvalidInput):
            parse_models(wrong)
