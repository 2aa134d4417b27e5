"""Phrases of captions find their boxes, by a detector of coloured squares and by a tiny OWLv2."""

import io
import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiny_owl import save_tiny_owl

pytest.importorskip("webdataset", reason="needs siglip2[data]")
pytest.importorskip("megatron.energon", reason="needs siglip2[data]")
pytest.importorskip("py3langid", reason="needs siglip2[data]")

from siglip2.data.detectors import open_detector
from siglip2.data.inspection import read_table
from siglip2.data.phrases import caption_phrases, read_categories
from siglip2.data.regions import RegionSettings, add_regions, suppress
from siglip2.data.sample import Box
from siglip2.data.sharded import ShardedImages
from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230)}


def squares(**places: tuple[float, float, float, float]) -> bytes:
    image = Image.new("RGB", (100, 80), "white")
    for colour, (x0, y0, x1, y1) in places.items():
        image.paste(COLOURS[colour], (int(x0 * 100), int(y0 * 80), int(x1 * 100), int(y1 * 80)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def find_colours(picture, phrases):
    """Finds what a phrase names by its colour; the longer the phrase, the surer."""
    pixels = np.asarray(picture)
    boxes = []
    for phrase in phrases:
        named = [colour for colour in COLOURS if colour in phrase.split()]
        if len(named) == 1:
            rows, columns = np.nonzero((pixels == COLOURS[named[0]]).all(2))
            if len(rows):
                corners = (
                    float(columns.min()) / 100,
                    float(rows.min()) / 80,
                    float(columns.max() + 1) / 100,
                    float(rows.max() + 1) / 80,
                )
                boxes.append(Box(corners, phrase, 0.5 + 0.01 * len(phrase)))
    return boxes


RED, BLUE, GREEN = (0.1, 0.1, 0.3, 0.5), (0.5, 0.25, 0.9, 0.75), (0.0, 0.5, 0.2, 1.0)


@pytest.fixture
def shards(tmp_path):
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    folder = tmp_path / "in"
    folder.mkdir()
    drawn = {"caption": "a thing", "regions": [{"box": [0, 0, 0.5, 0.5], "phrase": "drawn by hand"}]}
    samples = [
        {"png": squares(red=RED, blue=BLUE), "txt": b"a red square beside the large blue area"},
        {"png": squares(green=GREEN), "txt": b"an empty room"},
        {"png": squares(red=RED), "json": json.dumps(drawn).encode()},
        {"png": b"broken", "txt": b"a red square"},
    ]
    for shard in range(2):
        with TarWriter(str(folder / f"{shard}.tar"), encoder=False, mtime=0) as tar:
            for number in (2 * shard, 2 * shard + 1):
                tar.write({"__key__": f"{number}", **samples[number]})
    return folder


def regions_of(folder):
    return {
        sample.key: [(each["phrase"], each["box"]) for each in json.loads(sample.files["json"])["regions"]]
        for tar in sorted(folder.glob("*.tar"))
        for sample in read_shard(tar)
    }


def test_phrases_find_their_boxes(shards, tmp_path, caplog):
    kept = add_regions(shards, tmp_path / "out", find_colours, ["green thing", "car"])
    found = regions_of(tmp_path / "out")
    assert found["0"] == [("large blue area", list(BLUE)), ("red square", list(RED))]
    assert found["1"] == [("green thing", list(GREEN))]
    assert found["2"] == [("drawn by hand", [0, 0, 0.5, 0.5])]
    assert "3 of 1.tar is left out" in caplog.text
    assert [each.num_regions for each in kept] == [2, 1, 1]
    pictures = {s.key: s.files["png"] for tar in sorted(shards.glob("*.tar")) for s in read_shard(tar)}
    for tar in sorted((tmp_path / "out").glob("*.tar")):
        for sample in read_shard(tar):
            assert sample.files["png"] == pictures[sample.key], "pictures are kept as they are"
    source = ShardedImages(tmp_path / "out", 16)
    assert next(iter(source.regions)) == ((BLUE, "large blue area"), (RED, "red square"))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_boxes_are_of_the_upright_picture(tmp_path, orientation):
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    with Image.open(io.BytesIO(squares(red=RED))) as upright:
        stored = upright.transpose(turn[orientation]) if orientation in turn else upright.copy()
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(buffer, "PNG", exif=exif)
    (tmp_path / "in").mkdir()
    with TarWriter(str(tmp_path / "in" / "0.tar"), encoder=False) as tar:
        tar.write({"__key__": "0", "png": buffer.getvalue(), "txt": b"a red square"})
    (kept,) = add_regions(tmp_path / "in", tmp_path / "out", find_colours)
    assert (kept.width, kept.height) == (100, 80)
    assert regions_of(tmp_path / "out") == {"0": [("red square", list(RED))]}
    source = ShardedImages(tmp_path / "out", 20)
    shown, (((x0, y0, x1, y1), _),) = source.images[[0]][0], next(iter(source.regions))
    inside = shown[int(20 * y0) + 1 : int(20 * y1) - 1, int(20 * x0) + 1 : int(20 * x1) - 1]
    assert np.abs(inside.astype(int) - COLOURS["red"]).max() < 5, "the box lies on what training sees"


def test_stopped_and_run_again(shards, tmp_path):
    def stop_in_second_shard(count):
        stop_in_second_shard.seen += count
        if stop_in_second_shard.seen == 3:
            raise KeyboardInterrupt

    stop_in_second_shard.seen = 0
    with pytest.raises(KeyboardInterrupt):
        add_regions(shards, tmp_path / "out", find_colours, advance=stop_in_second_shard)
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["0.tar"]
    asked = []

    def count_pictures(picture, phrases):
        asked.append(phrases)
        return find_colours(picture, phrases)

    add_regions(shards, tmp_path / "out", count_pictures)
    assert len(asked) == 1, "the first shard is not detected again"
    add_regions(shards, tmp_path / "straight", find_colours)
    assert regions_of(tmp_path / "out") == regions_of(tmp_path / "straight")
    assert read_table(tmp_path / "out") == read_table(tmp_path / "straight")
    with pytest.raises(InvalidInput, match="another folder"):
        add_regions(shards, shards, find_colours)


def test_other_limits_do_not_mix_in(shards, tmp_path):
    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_regions(shards, tmp_path / "out", find_colours, advance=stop)
    with pytest.raises(InvalidInput, match="begun with"):
        add_regions(shards, tmp_path / "out", find_colours, settings=RegionSettings(longest=2))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"detector": {"threshold": 0.1}}, "threshold"),
        ({"categories": ["car"]}, "categories"),
        ({"settings": RegionSettings(most_boxes=1)}, "most_boxes"),
    ],
)
def test_another_request_does_not_pass_for_done(shards, tmp_path, other, named):
    asked: dict[str, Any] = {"detector": {"threshold": 0.2}}
    add_regions(shards, tmp_path / "out", find_colours, **asked)
    assert len(add_regions(shards, tmp_path / "out", find_colours, **asked)) == 3
    with pytest.raises(InvalidInput, match=f"begun with .*{named}"):
        add_regions(shards, tmp_path / "out", find_colours, **{**asked, **other})


def test_other_shards_do_not_pass_for_done(shards, tmp_path):
    add_regions(shards, tmp_path / "out", find_colours)
    shutil.copytree(shards, tmp_path / "other")
    with pytest.raises(InvalidInput, match=r"begun with .*/other"):
        add_regions(tmp_path / "other", tmp_path / "out", find_colours)
    with pytest.raises(InvalidInput, match="other things"):
        add_regions(shards, tmp_path / "other", find_colours)


def test_boxes_that_coincide():
    boxes = [
        Box((0.0, 0.0, 0.5, 0.5), "a dog", 0.4),
        Box((0.01, 0.0, 0.5, 0.5), "brown dog", 0.6),
        Box((0.4, 0.4, 0.9, 0.9), "ball", 0.5),
        Box((0.3, 0.3, 0.3, 0.9), "line", 0.9),
    ]
    assert [box.phrase for box in suppress(boxes, 0.7)] == ["brown dog", "ball"]
    assert len(suppress(boxes, 1.0)) == 3


def test_phrases_of_captions():
    found = caption_phrases(["A photo of the brown dog, it runs over grass."], longest=3)
    assert found == ["brown", "dog", "runs", "grass", "brown dog", "runs over grass"]
    assert caption_phrases(["a b c d e f g"], longest=1, most=3) == ["b", "c", "d"]
    assert caption_phrases(["一只 狗"]) == ["一只", "狗", "一只 狗"]


def test_categories(tmp_path):
    assert len(read_categories()) == len(set(read_categories())) >= 150
    path = tmp_path / "own.txt"
    path.write_text("car\n\ndog\n")
    assert read_categories(path) == ["car", "dog"]
    path.write_text("")
    with pytest.raises(InvalidInput, match="no categories"):
        read_categories(path)


@pytest.fixture(scope="module")
def tiny_owl(tmp_path_factory):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    return save_tiny_owl(tmp_path_factory.mktemp("owl"))


def test_owlv2_from_a_folder(tiny_owl):
    detect = open_detector(tiny_owl, threshold=0.0)
    phrases = [f"thing {letter}" for letter in "abc"] * 30
    boxes = detect(Image.new("RGB", (100, 80), "red"), phrases)
    assert len(boxes) == 2 * 16, "a box for each of 16 patches, in two groups of phrases"
    assert {box.phrase for box in boxes} <= set(phrases)
    assert all(0 <= (box.score or 0) <= 1 for box in boxes)
    assert open_detector(tiny_owl, threshold=1.1)(Image.new("RGB", (9, 9)), ["a"]) == []


def test_command(shards, tmp_path, tiny_owl, capsys):
    from siglip2.cli.main import run

    out = tmp_path / "out"
    detector = ["--detector", str(tiny_owl), "--threshold", "0"]
    assert run(["data", "regions", str(shards), str(out), *detector]) == 0
    assert "of 3 samples in" in capsys.readouterr().out
    for phrases_and_boxes in regions_of(out).values():
        for _, (x0, y0, x1, y1) in phrases_and_boxes:
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
    with pytest.raises(InvalidInput, match=r"begun with \{'threshold': 0.0\}, and this is .*0.2"):
        run(["data", "regions", str(shards), str(out), "--detector", str(tiny_owl)])
    with pytest.raises(InvalidInput, match=r"expected config\.json"):
        run(["data", "regions", str(shards), str(tmp_path / "new"), "--detector", str(tmp_path)])
    with pytest.raises(InvalidInput, match="--detector"):
        run(["data", "regions", str(shards), str(tmp_path / "new")])
