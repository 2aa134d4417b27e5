"""What is in shards is counted, and what is wrong with them is named."""

import gzip
import io
import json

import numpy as np
import pytest
from data_fixtures import caption, picture, table_folder
from PIL import Image

pytest.importorskip("webdataset", reason="needs siglip2[data]")
pytest.importorskip("megatron.energon", reason="needs siglip2[data]")
pytest.importorskip("py3langid", reason="needs siglip2[data]")

from siglip2.cli.main import run
from siglip2.data import duplicates
from siglip2.data.check import check_shards
from siglip2.data.duplicates import alike, exact_duplicates, near_vectors
from siglip2.data.inspection import Inspection, read_table
from siglip2.data.languages import identify
from siglip2.data.prepare import prepare_shards
from siglip2.data.random_access import RandomAccess, write_index
from siglip2.data.raw_sources import open_raw
from siglip2.errors import InvalidInput


def write_tar(path, samples):
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    with TarWriter(str(path), encoder=False, mtime=0) as tar:
        for key, files in samples:
            tar.write({"__key__": key, **files})


def encoded_anew(content: bytes, quality: int, scale: float) -> bytes:
    image = Image.open(io.BytesIO(content))
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def shards(tmp_path):
    """Twenty good samples, a copy, a smaller copy, four broken ones, and a shard that ends too early."""
    folder = tmp_path / "shards"
    folder.mkdir()
    good = [(f"{n:03d}", {"jpg": picture(n), "txt": caption(n).encode()}) for n in range(20)]
    copies = [
        ("copy", {"jpg": picture(3), "txt": b"the same dog runs over the grass"}),
        ("small", {"jpg": encoded_anew(picture(5), 60, 0.8), "txt": b"a smaller dog runs over the grass"}),
    ]
    broken = [
        ("cut", {"jpg": picture(30)[:200], "txt": b"a dog"}),
        ("mute", {"jpg": picture(31), "txt": b" "}),
        ("blind", {"txt": b"a dog"}),
        ("garbled", {"jpg": picture(32), "json": b"{"}),
    ]
    box = {
        "captions": {"en": ["a dog on the grass"]},
        "regions": [{"box": [0, 0, 0.5, 1], "phrase": "a dog"}],
    }
    write_tar(folder / "a.tar", good)
    write_tar(
        folder / "b.tar",
        [*copies, *broken, ("boxed", {"png": picture(40, form="PNG"), "json": json.dumps(box).encode()})],
    )
    write_tar(folder / "c.tar", [("lost", {"jpg": picture(50), "txt": b"a dog"})])
    (folder / "c.tar").write_bytes((folder / "c.tar").read_bytes()[:600])
    return folder


def test_folders_in_a_tar_may_have_dots(tmp_path):
    samples = [(f"./wds.v1/{n}", {"jpg": picture(n), "txt": caption(n).encode()}) for n in range(3)]
    write_tar(tmp_path / "a.tar", samples)
    assert [each.key for each in check_shards(tmp_path).samples] == [key for key, _ in samples]
    write_index(tmp_path, 3)
    access = RandomAccess(tmp_path)
    assert access.has("./wds.v1/1.txt")
    assert not access.has("./wds.v1/1.json")
    assert access.read("./wds.v1/1.txt").decode() == caption(1)
    access.close()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_tar_that_is_damaged_in_its_midst_does_not_pass_for_a_shorter_one(tmp_path, zipped):
    write_tar(
        tmp_path / "a.tar", [(str(n), {"jpg": picture(n), "txt": caption(n).encode()}) for n in range(9)]
    )
    content = (tmp_path / "a.tar").read_bytes()
    content = bytearray(gzip.compress(content, mtime=0) if zipped else content)
    at = len(content) // 2 if zipped else content.index(b"5.jpg")
    content[at : at + 8] = b"\xff" * 8
    (tmp_path / "a.tar").write_bytes(content)
    checked = check_shards(tmp_path)
    assert list(checked.damaged) == ["a.tar"]
    assert not checked.sound
    with pytest.raises(InvalidInput, match=r"a\.tar cannot be read as a tar"):
        prepare_shards(open_raw(tmp_path), tmp_path / "out")


def test_everything_is_found(shards):
    checked = check_shards(shards)
    found = checked.summary()
    assert found["samples"] == 27
    assert {each["key"]: each["shard"] for each in found["broken"]} == dict.fromkeys(
        ["cut", "mute", "blind", "garbled"], "b.tar"
    )
    reasons = {each["key"]: each["reason"] for each in found["broken"]}
    assert reasons["mute"] == "no caption"
    assert reasons["blind"] == "no picture, only txt"
    assert reasons["cut"].startswith("picture: ")
    assert reasons["garbled"].startswith("captions: ")
    assert list(found["damaged_shards"]) == ["c.tar"]
    assert found["exact_duplicates"] == [["003", "copy"]]
    assert found["near_duplicates"] == [["005", "small"]]
    assert found["languages"] == {"en": 21, "de": 1, "fr": 1}
    assert (found["boxes"], found["samples_with_boxes"]) == (1, 1)
    assert not checked.sound


def test_command(shards, tmp_path, capsys):
    assert run(["data", "check", str(shards), "--report", str(tmp_path / "page.html")]) == 1
    printed = capsys.readouterr().out
    assert "b.tar\tmute\tno caption" in printed
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "no picture, only txt" in page
    assert run(["data", "check", str(shards), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["samples"] == 27


def test_index_for_shards_of_others(shards, capsys):
    (shards / "c.tar").unlink()
    assert run(["data", "check", str(shards), "--index"]) == 1
    kept = read_table(shards)
    assert len(kept) == 27
    assert sum(bool(each.broken) for each in kept) == 4


def test_keys_that_stand_for_two_samples(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, [("000", {"jpg": picture(ord(name[0])), "txt": b"a dog"})])
    assert check_shards(tmp_path).repeated_keys == ["000"]
    with pytest.raises(InvalidInput, match="prepare"):
        run(["data", "check", str(tmp_path), "--index"])


def test_sound_shards(tmp_path, capsys):
    run(["data", "prepare", str(table_folder(tmp_path / "in", 5)), str(tmp_path / "out")])
    assert run(["data", "check", str(tmp_path / "out")]) == 0


def test_near_duplicates_by_vectors(shards):
    def embed(pictures):
        small = [Image.open(io.BytesIO(each)).convert("RGB").resize((8, 8)) for each in pictures]
        vectors = np.stack([np.asarray(each, dtype=np.float32).ravel() - 127 for each in small])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    assert check_shards(shards, embed=embed, similarity=0.98).near == [["005", "small"]]


def test_no_shards(tmp_path):
    with pytest.raises(InvalidInput, match=r"no \.tar"):
        check_shards(tmp_path)


def looking(*bits_set):
    """Samples whose looks have these bits."""
    looks = [sum(1 << bit for bit in each) for each in bits_set]
    return [
        Inspection(key=f"{number}", shard="", sha256=f"{number}", look=look - (1 << 64 if look >> 63 else 0))
        for number, look in enumerate(looks)
    ]


def test_looks_differ_in_at_most_three_bits():
    base = list(range(0, 64, 2))
    assert alike(looking(base, [*base, 1, 21, 41], [*base, 1, 3, 21, 41])) == [[0, 1, 2]], (
        "through the second"
    )
    assert alike(looking(base, [*base, 1, 3, 21, 41])) == []
    assert alike(looking([], [])) == [], "pictures of one colour look the same and are not"


def test_exact_duplicates_of_one_colour():
    samples = [Inspection(key=str(n), shard="", sha256="same") for n in range(2)]
    assert exact_duplicates(samples) == alike(samples) == [[0, 1]]


def test_vectors_in_blocks_give_the_same_groups():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8))
    vectors[40] = vectors[3] + 0.01
    vectors[17] = vectors[16] * 2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert near_vectors(vectors, 0.99, block=7) == near_vectors(vectors, 0.99) == [[3, 40], [16, 17]]


def test_pairs_are_joined_many_at_once(monkeypatch):
    calls, join = [], duplicates.Groups.join
    monkeypatch.setattr(
        duplicates.Groups, "join", lambda self, *pairs: calls.append(pairs) or join(self, *pairs)
    )
    vectors = np.tile(np.eye(1, 8), (300, 1))
    assert near_vectors(vectors, 0.9, block=100) == [list(range(300))]
    assert len(calls) == 6, "one for each pair of blocks, not one for each of 44,850 pairs"


def test_groups_reach_as_far_as_their_pairs():
    angles = np.random.default_rng(0).permutation(np.arange(60)) / 10  # neighbours are 0.1 apart
    angles[angles > 3] += 0.1
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    groups = near_vectors(vectors, float(np.cos(0.15)), block=16)
    whole = [np.flatnonzero(angles <= 3).tolist(), np.flatnonzero(angles > 3).tolist()]
    assert groups == sorted(whole)


@pytest.mark.parametrize(
    ("text", "language"),
    [("a dog runs over the grass", "en"), ("ein Hund rennt über die Wiese", "de"), ("1234 :-)", "und")],
)
def test_languages(text, language):
    assert identify(text) == language


def test_real_captions(shared_data):
    from siglip2.data.research import flickr8k_captions

    _, captions = flickr8k_captions(shared_data, "dev")
    for language in ("en", "zh", "ar", "de"):
        texts = [each[language][0] for each in captions[:200] if language in each]
        assert sum(identify(text) == language for text in texts) >= 0.95 * len(texts)
