"""Shards give the trainer the samples that memory gives it; order, shares and resumes are exact."""

import json
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import LANGUAGES, picture, table_folder
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("webdataset", reason="needs siglip2[data]")
pytest.importorskip("megatron.energon", reason="needs siglip2[data]")
pytest.importorskip("py3langid", reason="needs siglip2[data]")

from siglip2.data.blend import Blend, by_language, epoch_places, open_shards
from siglip2.data.captioned import CaptionedImages
from siglip2.data.folder import captioned_folder
from siglip2.data.inspection import read_table, write_table
from siglip2.data.prepare import prepare_shards
from siglip2.data.random_access import write_index
from siglip2.data.raw_sources import open_raw
from siglip2.data.selection import Languages
from siglip2.data.sharded import ShardedImages
from siglip2.data.source import CaptionedSource
from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import Source
from siglip2.train.sampling import draw_batch

COUNT = 60
SIZE = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return table_folder(tmp_path_factory.mktemp("photos") / "in", COUNT)


@pytest.fixture(scope="module")
def shards(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    prepare_shards(open_raw(photos), out, shard_size=13)
    return out


def draw(source: Any, step: int, batch: int = 7, **ranks: int):
    return draw_batch([Source(name="x", images_per_batch=batch)], [source], seed=3, step=step, **ranks)  # pyright: ignore[reportArgumentType]


def test_same_batches_as_from_memory(photos, shards):
    memory, streamed = captioned_folder(photos, SIZE), ShardedImages(shards, SIZE)
    assert isinstance(memory, CaptionedSource)
    assert isinstance(streamed, CaptionedSource)
    for step in (0, 5, 11):
        one, other = draw(memory, step), draw(streamed, step)
        np.testing.assert_array_equal(one.images[0], other.images[0])
        assert list(one.texts) == list(other.texts)
        np.testing.assert_array_equal(one.text_of_image, other.text_of_image)


def drawn_keys(source: Any, step: int, world: int) -> list[str]:
    parts = [draw(source, step, 6, rank=rank, world=world) for rank in range(world)]
    return [str(row) for part in parts for row in part.images[0].reshape(-1, SIZE * SIZE * 3).sum(1)]


def test_no_sample_is_lost_or_repeated_when_the_ranks_change(shards):
    """Four ranks, killed in the middle of an epoch, then two, then three."""
    straight = [drawn_keys(ShardedImages(shards, SIZE), step, 1) for step in range(10)]
    worlds = [4] * 3 + [2] * 4 + [3] * 3
    before, after = ShardedImages(shards, SIZE), ShardedImages(shards, SIZE)
    resumed = [drawn_keys(before if step < 3 else after, step, world) for step, world in enumerate(worlds)]
    assert resumed == straight
    assert len({key for step in straight for key in step}) == COUNT, "every sample once in an epoch"


def test_languages(shards):
    english = ShardedImages(shards, SIZE, languages=Languages(only=("en",)))
    others = ShardedImages(shards, SIZE, languages=Languages(without=("en",)))
    assert (len(english), len(others)) == (54, 6)
    assert all(texts[0].startswith(LANGUAGES["en"]) for texts in english.captions)
    assert not any(texts[0].startswith(LANGUAGES["en"]) for texts in others.captions)


def test_captions_of_other_languages_are_passed_over(tmp_path):
    source = table_folder(tmp_path / "in", 3)
    with (source / "captions.csv").open("a", encoding="utf-8") as file:
        file.write(f"0001.jpg,{LANGUAGES['zh']}\n")
    prepare_shards(open_raw(source), tmp_path / "out")
    assert list(ShardedImages(tmp_path / "out", SIZE, languages=Languages(only=("zh",))).captions) == [
        (LANGUAGES["zh"],)
    ]


def test_share_by_language(shards):
    blend = by_language(shards, SIZE, {"en": 0.5, "other": 0.5})
    assert blend.places == (54, 54)
    texts = Counter(text[0] for text in blend.captions)
    english = sum(count for text, count in texts.items() if text.startswith(LANGUAGES["en"]))
    assert english == 54
    assert set(texts.values()) == {1, 9}, "each of six others nine times"
    steps = [draw(blend, step, 12) for step in range(9)]
    shown = [str(text) for batch in steps for text in batch.texts]
    assert sum(text.startswith(LANGUAGES["en"]) for text in shown) == 54, "exact after each epoch"
    assert by_language(shards, SIZE).places == (54, 6), "the paper's nine in ten"


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    weights=st.lists(st.integers(1, 20), min_size=4, max_size=4),
)
def test_places_of_an_epoch(lengths, weights):
    weights = [weight / 10 for weight in weights[: len(lengths)]]
    places = epoch_places(lengths, weights)
    assert all(place >= length for place, length in zip(places, lengths, strict=True))
    shares = [Fraction(weight).limit_denominator(10**6) for weight in weights]
    for place, share in zip(places, shares, strict=True):
        assert abs(place - sum(places) * share / sum(shares)) < 1


def test_places_of_weights_that_are_far_apart():
    assert epoch_places([5, 7], [1e-9, 1]) == (5, 5 * 10**9)
    assert epoch_places([3, 3], [0.1, 0.3]) == (3, 9), "not what 0.3 / 0.1 is in floating point"
    parts = [in_memory("one", 5), in_memory("two", 7)]
    with pytest.raises(InvalidInput, match=r"takes 5,000,000,005 places"):
        Blend(parts, [1e-9, 1])
    with pytest.raises(InvalidInput, match="weight above 0"):
        Blend(parts, [float("inf"), 1])


def in_memory(name: str, count: int, classes: list[int] | None = None) -> CaptionedImages:
    return CaptionedImages(
        name=name,
        images=np.full((count, 2, 2, 3), len(name), np.uint8),
        captions=[[f"{name} {number}"] for number in range(count)],
        classes=np.array(classes or [-1] * count),
        regions=[[((0.0, 0.0, 1.0, 1.0), name)]] * count if name == "a" else (),
    )


def test_blend_of_any_sources():
    blend = Blend([in_memory("a", 4, [0, 0, 1, 1]), in_memory("bb", 2, [0, 1])], [2, 3])
    assert blend.places == (4, 6)
    assert blend.classes.tolist() == [0, 0, 1, 1, 2, 3, 2, 3, 2, 3]
    assert [texts[0] for texts in blend.captions][3:7] == ["a 3", "bb 0", "bb 1", "bb 0"]
    assert blend.images[np.array([9, 0, 5])][:, 0, 0, 0].tolist() == [2, 1, 2]
    assert blend.images[np.zeros(0, dtype=int)].shape == (0, 2, 2, 3)
    assert [len(regions) for regions in blend.regions] == [1] * 4 + [0] * 6
    assert next(iter(blend.regions))[0][1] == "a"


def test_a_described_blend(shards, tmp_path):
    entry = {"shards": str(shards), "weight": 2, "languages": {"en": 0.9, "other": 0.1}}
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"parts": [entry, {"shards": str(shards)}]}))
    blend = open_shards(tmp_path, SIZE)
    assert isinstance(blend, Blend)
    assert blend.places == (120, 60)
    assert isinstance(open_shards(shards, SIZE), ShardedImages)
    path.write_text(json.dumps({"parts": [{**entry, "wieght": 2}]}))
    with pytest.raises(InvalidInput, match="wieght"):
        open_shards(path, SIZE)
    with pytest.raises(InvalidInput, match="above 0"):
        Blend([in_memory("a", 1)], [0])


def with_broken(tmp_path: Path, broken: tuple[int, ...]) -> Path:
    """Shards of somebody else, whose broken samples are still in the tar."""
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    with TarWriter(str(tmp_path / "theirs.tar"), encoder=False, mtime=0) as tar:
        for number in range(30):
            content = picture(number)[: 100 if number in broken else None]
            tar.write({"__key__": f"{number:03d}", "jpg": content, "txt": LANGUAGES["en"].encode()})
    from siglip2.data.check import check_shards

    checked = check_shards(tmp_path)
    write_index(tmp_path, len(checked.samples))
    write_table(checked.samples, tmp_path)
    return tmp_path


def test_broken_samples_are_passed_over(tmp_path, caplog):
    folder = with_broken(tmp_path, (4,))
    source = ShardedImages(folder, SIZE)
    assert len(source) == 29
    assert "004 is left out: picture" in caplog.text
    assert "1 of 30" in caplog.text
    assert source.images[np.arange(29)].shape == (29, SIZE, SIZE, 3)
    with pytest.raises(InvalidInput, match=r"1 of 30 .*\n  theirs.tar/004: picture"):
        ShardedImages(folder, SIZE, most_broken=0.01)


def test_a_sample_that_breaks_later_is_named(shards, tmp_path):
    import shutil

    copied = Path(shutil.copytree(shards, tmp_path / "copy"))
    tar = copied / "shard-000001.tar"
    content = tar.read_bytes()
    tar.write_bytes(content.replace(picture(15), bytes(len(picture(15)))))
    source = ShardedImages(copied, SIZE)
    with pytest.raises(InvalidInput, match=r"000000015 in shard-000001\.tar"):
        source.images[np.arange(len(source))]


def test_keep_weights(shards, tmp_path):
    import pyarrow
    from pyarrow import parquet

    keys = [each.key for each in read_table(shards)]
    path = tmp_path / "balance.parquet"
    parquet.write_table(pyarrow.table({"key": keys, "keep": [0.0] * 10 + [0.5] * 40 + [1.0] * 10}), path)
    kept = [each.key for each in ShardedImages(shards, SIZE, keep_weights=path).samples]
    assert not set(kept) & set(keys[:10])
    assert set(keys[50:]) <= set(kept)
    assert 10 <= len(kept) - 10 <= 30
    assert kept == [each.key for each in ShardedImages(shards, SIZE, keep_weights=path).samples]
    parquet.write_table(pyarrow.table({"key": ["another"], "keep": [1.0]}), path)
    with pytest.raises(InvalidInput, match="other shards"):
        ShardedImages(shards, SIZE, keep_weights=path)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("visits", [3_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_memory_and_files_stay_few(shards, visits):
    """Thousands of samples: what a source holds does not grow with what it has given."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc to read memory and open files from")
    source = ShardedImages(shards, 64, threads=2)
    rng = np.random.default_rng(0)

    def visit() -> None:
        batch = draw_batch(
            [Source(name="x", images_per_batch=COUNT)], [source], seed=0, step=int(rng.integers(1_000))
        )
        assert batch.images[0].shape == (COUNT, 64, 64, 3)

    for _ in range(10):
        visit()
    before, opened = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(visits // COUNT):
        visit()
    # Held, 3,000 pictures would be 37 MB.
    assert resident() - before < 15 << 20
    assert len(os.listdir("/proc/self/fd")) <= opened
    source.close()


def test_folders_without_a_table(tmp_path, photos):
    with pytest.raises(InvalidInput, match=r"check .* --index"):
        ShardedImages(photos, SIZE)


def test_remote_shards(shards, tmp_path, monkeypatch):
    """A profile of multi-storage-client, here one that lies on this machine."""
    multistorageclient = pytest.importorskip("multistorageclient", reason="needs siglip2[data]")
    config = {
        "profiles": {
            "far": {"storage_provider": {"type": "file", "options": {"base_path": str(shards.parent)}}}
        }
    }
    (tmp_path / "msc.json").write_text(json.dumps(config))
    monkeypatch.setenv("MSC_CONFIG", str(tmp_path / "msc.json"))
    assert multistorageclient
    far, near = ShardedImages(f"msc://far/{shards.name}", SIZE), ShardedImages(shards, SIZE)
    indices = np.array([2, 40, 17])
    np.testing.assert_array_equal(far.images[indices], near.images[indices])
    assert far.captions[40] == near.captions[40]
