"""Search over mounted collections: as the library searches, and without a word about the server's folders."""

import io
import sqlite3

import pytest
from PIL import Image
from tests.serve.conftest import data_url, photo_file, png

from siglip2.errors import InvalidInput
from siglip2.search.collection import Collection
from siglip2.serve.accounts.store import create_key
from siglip2.serve.app import create_app
from siglip2.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("secret-folder")


@pytest.fixture(scope="module")
def collection(folder, encoder):
    photos = folder / "photos"
    photos.mkdir()
    for seed in range(12):
        photo_file(photos, seed)
    with Collection.open(folder / "photos.siglip2", encoder) as opened:
        opened.add([photos])
        opened.add_texts([{"text": "a red bicycle", "price": 5}, {"text": "a cat", "price": 50}])
        yield opened


@pytest.fixture(scope="module")
def mounted(start, folder, collection):
    return start(ServeSettings(collections={"photos": folder / "photos.siglip2"}))


@pytest.fixture
def searcher(mounted):
    with mounted.client() as client:
        yield client


def ids(answer):
    assert answer.is_success, answer.text
    return [entry["id"] for entry in answer.json()["data"]]


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ({"query": "a cat"}, {"text": "a cat"}),
        ({"query": {"image": data_url(3)}}, {"image": png(3)}),
        ({"query": ["a cat", {"image": data_url(3)}]}, {"text": "a cat", "image": png(3)}),
        ({"query": "a cat", "not": ["a dog"]}, {"text": "a cat", "not_": ["a dog"]}),
        ({"query": "a cat", "limit": 3, "offset": 2}, {"text": "a cat", "limit": 3, "offset": 2}),
        (
            {"query": "bike", "kind": "text", "filters": ["price<20"]},
            {"text": "bike", "kind": "text", "where": ["price<20"]},
        ),
    ],
)
def test_as_the_library_searches(searcher, collection, body, call):
    answer = searcher.post("/v1/search", json=body)
    assert ids(answer) == [hit.row.id for hit in collection.search(**call)]


def test_what_an_answer_holds(searcher, folder):
    answer = searcher.post("/v1/search", json={"query": "a cat", "collection": "photos", "limit": 1})
    (entry,) = answer.json()["data"]
    assert entry["kind"] == "image"
    assert 0 < entry["probability"] < 1
    assert entry["name"].startswith("photo")
    assert str(folder) not in answer.text
    picture = searcher.get(entry["image_path"])
    assert picture.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert opened.format == "JPEG"
    listed = searcher.get("/v1/collections").json()["data"]
    assert listed == [{"id": "photos", "object": "collection", "model": "tiny", "count": 14}]
    assert answer.headers["x-credits-cost"] == "10"


def test_openai_vector_stores(mounted, collection):
    openai = pytest.importorskip("openai", reason="needs openai: pip install openai")
    with openai.OpenAI(base_url=f"{mounted.url}/v1", api_key=mounted.key, max_retries=0) as client:
        found = client.vector_stores.search("photos", query="a cat", max_num_results=4)
        expected = [str(hit.row.id) for hit in collection.search("a cat", limit=4)]
        assert [entry.file_id for entry in found.data] == expected


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "query"),
        ({"query": []}, 400, "query"),
        ({"query": ""}, 400, "query[0]"),
        ({"query": "x", "collection": "other"}, 404, "collection"),
        ({"query": "x", "filters": ["nonsense"]}, 400, "filters[0]"),
        ({"query": "x", "filters": ["folder=/etc"]}, 400, "filters[0]"),
        ({"query": "x", "filters": ["near=1,2"]}, 400, "filters[0]"),
        ({"query": "x", "limit": 0}, 400, "limit"),
        ({"query": "x", "filters": ["taken>2"] * 33}, 400, "filters"),
        ({"query": "x", "text_weight": 0}, 400, "text_weight"),
        ({"query": ["x", "y"], "min_probability": 0.5}, 400, "min_probability"),
        ({"query": "x", "not": ["a", ""]}, 400, "not[1]"),
        ({"query": "x", "not": ["y" * 8193]}, 400, "not[0]"),
        ({"query": "x", "not": [f"y{number}" for number in range(2048)]}, 400, "not"),
    ],
)
def test_wrong_searches(searcher, body, status, param):
    answer = searcher.post("/v1/search", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        ("taken>=2020-13", "Taken is compared with a date: 2020, 2020-06, "),
        ("width>wide", "The filter width>wide: width is compared with a number, as in width>=9."),
        ("kind=video", "The filter kind=video: kind= or kind!= takes image or text."),
        ("near=47.37", "Near=47.37 must be latitude,longitude,km such as near=47.37,8.54,10."),
        ("words=", "The filter words= needs at least one word."),
        ("words=a\0b", "The filter 'words=a\\x00b' holds the character NUL."),
        ("words>a", "The filter 'words>a': words takes = only."),
        ("folder=/etc", "The filter folder is not offered here."),
        (" folder <5", "The filter folder is not offered here."),
        ("nonsense", "The filter 'nonsense' is not NAME OPERATOR VALUE, such as taken>=2020-06, "),
        ("a!b=5", "The filter 'a!b=5' is not NAME OPERATOR VALUE, such as taken>=2020-06, "),
        (" = 5", "The filter ' = 5' is not NAME OPERATOR VALUE, such as taken>=2020-06, "),
        pytest.param(" " * 5000, "A filter has at most 1000 characters.", id="spaces"),
    ],
)
def test_a_filter_that_is_refused_says_why(searcher, filter_, said):
    answer = searcher.post("/v1/search", json={"query": "x", "filters": ["price<20", filter_]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "filters[1]"), answer.text
    message = answer.json()["message"]
    assert message.startswith(said)
    assert message.endswith(".")
    assert "folder=" not in message


def test_a_collection_that_cannot_be_read_is_no_fault_of_the_caller(searcher, monkeypatch):
    def broken(*arguments, **options):
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(Collection, "search_terms", broken)
    answer = searcher.post("/v1/search", json={"query": "x", "filters": ["price<20"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_odd_columns_are_harmless(searcher):
    for name in ('a"b', "a\\", "a'b", "$", "a]", "é", "x" * 5000, "a.b[0]"):
        answer = searcher.post("/v1/search", json={"query": "x", "filters": [f"{name}=1"]})
        assert answer.status_code in (200, 400), name


def test_photos_that_are_not_there(searcher):
    for item in (0, 10**6, 2**63 - 1):
        assert searcher.get(f"/v1/collections/photos/items/{item}/image").status_code == 404
    assert searcher.get("/v1/collections/other/items/1/image").status_code == 404
    assert searcher.get("/v1/collections/photos/items/x/image").status_code == 400


def test_keys_without_the_scope(mounted, searcher):
    key = create_key(mounted.database, "ada@example.org", "narrow", scopes=["classify"])
    answer = searcher.post("/v1/search", json={"query": "x"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403


def test_no_collections(client):
    assert client.get("/v1/collections").json()["data"] == []
    assert client.post("/v1/search", json={"query": "x"}).status_code == 404


def test_a_collection_of_another_model(folder, collection, tmp_path):
    from tests.tiny_model import tiny_encoder

    other = tiny_encoder(tmp_path, seed=1)
    settings = ServeSettings(open=True, collections={"photos": folder / "photos.siglip2"})
    with pytest.raises(InvalidInput, match="holds vectors of"):
        create_app(settings, encoder=other)
    missing = ServeSettings(open=True, collections={"photos": folder / "none"})
    with pytest.raises(InvalidInput, match="no collection"):
        create_app(missing, encoder=other)
