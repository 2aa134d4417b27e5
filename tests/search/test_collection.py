"""Adding, searching, opening again."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.search.conftest import draw_photos
from tests.search.vector_rows import unit

from siglip2.errors import InvalidInput
from siglip2.search.collection import Collection
from siglip2.search.rows import NewRow
from siglip2.similarity import sigmoid


def test_a_photo_finds_itself(collection, photos):
    report = collection.add([photos])
    assert (report.found, report.embedded, report.broken) == (20, 20, ())
    hits = collection.search(image=photos / "photo_007.png", limit=3)
    assert hits[0].path == str(photos / "photo_007.png")
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert hits[0].probability is None


def test_text_orders_by_cosine_and_pages(collection, photos, encoder):
    collection.add([photos])
    paths = sorted(photos.iterdir())
    cosines = encoder.embed_images(paths) @ encoder.embed_texts(["a cat"])[0]
    expected = [str(paths[index]) for index in np.argsort(-cosines)]
    hits = [*collection.search("a cat", limit=7), *collection.search("a cat", limit=20, offset=7)]
    assert [hit.path for hit in hits] == expected
    logits = encoder.logit_scale * np.sort(cosines)[::-1] + encoder.logit_bias
    assert [hit.probability for hit in hits] == pytest.approx(sigmoid(logits).tolist(), abs=1e-4)


def test_nothing_is_a_match(collection, photos):
    collection.add([photos])
    assert collection.search("a cat", min_probability=0.99) == []


def test_index_finds_what_the_scan_finds(collection, photos):
    collection.add([photos])
    assert collection.vectors.optimise(collection.store).recall_at_10 == 1
    exact, index = (collection.search("a dog", mode=mode) for mode in ("exact", "index"))
    assert [hit.path for hit in index] == [hit.path for hit in exact]


def test_damaged_copies_are_made_again(tmp_path, collection, photos, encoder):
    collection.add([photos])
    collection.vectors.optimise(collection.store)
    before = [hit.path for hit in collection.search("a dog")]
    collection.close()
    for file in (tmp_path / "c.siglip2.cache").iterdir():
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for lock in (tmp_path / "c.siglip2.cache").glob("*.lock"):
        lock.unlink()
    with Collection.open(tmp_path / "c.siglip2", encoder) as again:
        assert [hit.path for hit in again.search("a dog", mode="exact")] == before
        assert [hit.path for hit in again.search("a dog", mode="index")] == before


def test_unwanted_phrases_move_their_photos_down(collection, photos):
    collection.add([photos])
    unwanted = collection.search("zebra", limit=1)[0].path
    plain = [hit.path for hit in collection.search("a dog")]
    without = [hit.path for hit in collection.search("a dog", not_=["zebra"])]
    assert without.index(unwanted) >= plain.index(unwanted)
    assert without != plain


def test_text_and_example_together(collection, photos):
    collection.add([photos])
    example = photos / "photo_003.png"
    mixed = collection.search("a dog", example, image_weight=100.0)
    assert mixed[0].path == str(example)
    assert mixed[0].probability is not None
    worded = collection.search("a dog", example, text_weight=1000.0)
    assert worded[0].path == collection.search("a dog")[0].path


def test_several_phrases_have_no_probability(collection, photos):
    collection.add([photos])
    assert {hit.probability for hit in collection.search(["a dog", "a cat"])} == {None}
    with pytest.raises(InvalidInput, match="one phrase only"):
        collection.search(["a dog", "a cat"], min_probability=0.1)


def test_more_like_one(collection, photos):
    collection.add([photos])
    own = collection.search("a dog", limit=1)[0].row
    assert own.id not in [hit.row.id for hit in collection.like(own.id)]
    assert len(collection.like(own.id, limit=5)) == 5
    pages = [hit.row.id for offset in (0, 7, 14) for hit in collection.like(own.id, limit=7, offset=offset)]
    assert pages == [hit.row.id for hit in collection.like(own.id)]
    assert len(set(pages)) == 19


def test_texts_are_found_by_picture(collection, photos):
    rows = [{"name": letter * 3, "price": index} for index, letter in enumerate("abcdef")]
    assert collection.add_texts(rows, text_column="name") == 6
    assert collection.add_texts(rows, text_column="name") == 6
    assert len(collection) == 6
    hits = collection.search(image=photos / "photo_000.png", where=["price<3"])
    assert {hit.row.text for hit in hits} == {"aaa", "bbb", "ccc"}
    assert hits[0].probability is not None
    assert sorted(hit.row.columns["price"] for hit in hits) == [0, 1, 2]


def test_another_model_is_refused_with_a_way_out(tmp_path, collection, photos, other_encoder):
    collection.add([photos])
    with pytest.raises(InvalidInput, match=r"holds vectors of tiny-0 .* not of tiny-1 .* reembed"):
        Collection.open(tmp_path / "c.siglip2", other_encoder)
    with Collection.open(tmp_path / "c.siglip2", other_encoder, add_model=True) as second:
        assert len(second) == 0
        assert second.reembed().embedded == 20
        assert len(second) == 20
        hits = second.search(image=photos / "photo_002.png", limit=1)
        assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert len(collection) == 20


def test_another_model_embeds_rows_as_they_are(tmp_path, collection, photos, other_encoder):
    columns = [{"name": "a shoe", "text": "made of leather"}, {"name": "a hat", "text": ""}]
    collection.add_texts(columns, text_column="name")
    collection.add([photos])
    copied = photos / "copy.png"
    copied.write_bytes((photos / "photo_001.png").read_bytes())
    collection.add([photos])
    for name in ("photo_000.png", "photo_001.png"):
        (photos / name).unlink()
    with Collection.open(tmp_path / "c.siglip2", other_encoder, add_model=True) as second:
        report = second.reembed()
        assert [each.file.path for each in report.broken] == [str(photos / "photo_000.png")]
        assert "is not there" in report.broken[0].reason
        assert len(second) == len(collection) - 1 == 21
        (hit,) = second.search("a shoe", kind="text", limit=1)
        assert (hit.row.text, hit.row.columns["text"]) == ("a shoe", "made of leather")
        assert hit.cosine == pytest.approx(1, abs=1e-4)


def test_what_is_no_collection(tmp_path, encoder):
    (tmp_path / "notes.txt").write_text("nothing of the kind" * 100)
    with pytest.raises(InvalidInput, match="cannot be opened as a collection"):
        Collection.open(tmp_path / "notes.txt", encoder)
    with pytest.raises(InvalidInput, match="there is no collection"):
        Collection.open(tmp_path / "missing", encoder, create=False)


def test_filters(collection, tmp_path):
    folder = tmp_path / "exif"
    paths = draw_photos(folder, 3)
    for index, path in enumerate(paths):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Canon", f"EOS {index}"
        exif[0x0132] = f"202{index}:06:15 12:00:00"
        exif[0x8825] = {1: "N", 2: (47.0, 22.0, 0.0), 3: "W" if index else "E", 4: (8.0, 30.0, 0.0)}
        Image.open(path).save(path.with_suffix(".jpg"), exif=exif)
        path.unlink()
    collection.add([folder])

    def found(*where: str) -> list[str]:
        return sorted(hit.row.facts.camera or "" for hit in collection.search("a", where=where))

    assert found("taken>=2021") == ["Canon EOS 1", "Canon EOS 2"]
    assert found("taken=2021-06") == ["Canon EOS 1"]
    assert found("taken>2020") == ["Canon EOS 1", "Canon EOS 2"]
    assert found("taken<=2020-06-15") == ["Canon EOS 0"]
    assert found("camera~eos 2") == ["Canon EOS 2"]
    assert found("near=47.4,8.5,10") == ["Canon EOS 0"]
    assert found(f"folder={folder}") == ["Canon EOS 0", "Canon EOS 1", "Canon EOS 2"]
    assert found(f"folder={folder}x") == []
    assert found("words=photo 001") == ["Canon EOS 1"]
    assert found("x') OR 1=1 --=1") == []
    assert found('words=" OR *') == []
    with pytest.raises(InvalidInput, match="NAME OPERATOR VALUE"):
        found("nonsense")


def test_texts_beside_photos_change_no_ranking_of_photos(collection, photos, encoder):
    collection.add([photos])
    questions: list[dict[str, Any]] = [
        {"text": "a dog", "not_": ["zebra"]},
        {"text": "a dog", "image": photos / "photo_003.png"},
    ]
    before = [[hit.path for hit in collection.search(**each)] for each in questions]
    # As a trained model's: phrases lie far nearer to texts than to photos.
    near = encoder.embed_texts(["zebra", "a dog"]).sum(0)
    vectors = unit(near + np.random.default_rng(0).normal(size=(200, len(near)), scale=1e-3))
    rows = [
        NewRow(digest=bytes([index]), vector=vector, kind="text", text="near")
        for index, vector in enumerate(vectors)
    ]
    collection.store.write(collection.model, rows)
    assert len(collection) == 220
    assert [[hit.path for hit in collection.search(**each)] for each in questions] == before
