"""A whole collection on a Milvus server: the same answers as from a file."""

from typing import Any

import pytest
from tests.search.conftest import draw_photos
from tests.search.milvus_server import milvus_server

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.search.collection import Collection
from siglip2.weights.load import save_checkpoint


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address


def test_the_same_answers(server, encoder, collection, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    collection.add([photos])
    example = photos / "photo_003.png"
    questions: list[dict[str, Any]] = [
        {"text": "a dog"},
        {"text": "a dog", "mode": "exact"},
        {"text": "a dog", "not_": ["a cat"]},
        {"text": "a dog", "image": example},
        {"image": example, "where": ["words=photo"]},
        {"text": "a dog", "where": [f"folder={photos}"]},
    ]
    with Collection.open(f"{server}/same", encoder) as remote:
        assert remote.add([photos]).embedded == 20
        assert remote.add([photos]).known == 20
        for options in questions:
            ours = [hit.path for hit in collection.search(**options)]
            assert [hit.path for hit in remote.search(**options)] == ours
        example.unlink()
        assert remote.add([photos]).removed == 1
        assert len(remote) == len(remote.search("a dog")) == 19
        assert remote.to_arrow(with_vectors=True).num_rows == 19


def test_by_command(server, encoder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save_checkpoint(encoder.checkpoint, tmp_path / "model")
    draw_photos(tmp_path / "photos", 5)
    place = ["--collection", f"{server}/commands"]
    with pytest.raises(InvalidInput, match="there is no collection"):
        run(["search", "a dog", *place])
    assert run(["index", "add", str(tmp_path / "photos"), "--model", str(tmp_path / "model"), *place]) == 0
    assert run(["search", "a dog", "--paths", *place]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert run(["index", "stats", *place]) == 0
    assert "kept by Milvus" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["milvus+http://host", "milvus+http://host:1/two words"])
def test_addresses(address):
    with pytest.raises(InvalidInput, match="not of the form"):
        Collection.open(address)
