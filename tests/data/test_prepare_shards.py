"""Captioned pictures in every form become the same shards; a killed run goes on; broken ones are named."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from data_fixtures import LANGUAGES, caption, picture, table_folder
from PIL import Image

pytest.importorskip("webdataset", reason="needs siglip2[data]")
pytest.importorskip("megatron.energon", reason="needs siglip2[data]")
pytest.importorskip("py3langid", reason="needs siglip2[data]")

from siglip2.data.inspection import read_table
from siglip2.data.prepare import prepare_shards
from siglip2.data.random_access import RandomAccess
from siglip2.data.raw_sources import Columns, open_raw
from siglip2.data.sample import captions_of
from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput


def contents(folder):
    return {sample.key: sample.files for tar in sorted(folder.glob("*.tar")) for sample in read_shard(tar)}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_tables(tmp_path, ending):
    source = table_folder(tmp_path / "in", 7, ending=ending)
    done = prepare_shards(open_raw(source), tmp_path / "out", shard_size=3)
    assert (len(done.samples), len(done.broken), done.shards) == (7, 0, 3)
    files = contents(tmp_path / "out")
    assert list(files) == [f"{number:09d}" for number in range(7)]
    for number, (key, each) in enumerate(files.items()):
        assert each["jpg"] == picture(number), "the bytes of pictures are kept as they are"
        entry = json.loads(each["json"])
        assert entry["key"] == key
        assert entry["source"] == f"{number:04d}.jpg"
        assert entry["captions"] == [{"text": caption(number), "language": "de" if number == 0 else "en"}]
        assert entry["regions"] == []
    assert [each.shard for each in read_table(tmp_path / "out")] == ["shard-000000.tar"] * 3 + [
        "shard-000001.tar"
    ] * 3 + ["shard-000002.tar"]
    access = RandomAccess(tmp_path / "out")
    assert len(access) == 7
    assert access.read("000000005.jpg") == picture(5)
    access.close()


def test_several_captions_of_one_picture(tmp_path):
    source = table_folder(tmp_path / "in", 2)
    with (source / "captions.csv").open("a", encoding="utf-8") as file:
        file.write(f"0000.jpg,{LANGUAGES['zh']}\n")
    prepare_shards(open_raw(source), tmp_path / "out")
    assert [each.languages for each in read_table(tmp_path / "out")] == [("de", "zh"), ("en",)]


def test_columns_by_name(tmp_path):
    source = table_folder(tmp_path / "in", 2)
    (source / "captions.csv").write_text("photo,words,tongue\n0000.jpg,ein Hund,xx\n")
    with pytest.raises(InvalidInput, match=r"photo, words, tongue.*--image-column"):
        open_raw(source)
    asked = Columns(picture="photo", caption="words", language="tongue")
    prepare_shards(open_raw(source, asked), tmp_path / "out")
    assert read_table(tmp_path / "out")[0].languages == ("xx",), "a language that is given is believed"


def test_hugging_face_folder(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs siglip2[data]")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = [
        {"image": {"bytes": picture(number), "path": None}, "text": caption(number)} for number in range(4)
    ]
    split = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "in")
    with pytest.raises(InvalidInput, match="splits train, test"):
        open_raw(tmp_path / "in")
    done = prepare_shards(open_raw(tmp_path / "in", Columns(split="train")), tmp_path / "out")
    assert done.shards == 1
    assert [each["jpg"] for each in contents(tmp_path / "out").values()] == [picture(n) for n in range(4)]
    with pytest.raises(InvalidInput, match=r"'train'.*'test'"):
        prepare_shards(open_raw(tmp_path / "in", Columns(split="test")), tmp_path / "out")


def test_splits_and_columns_that_a_source_does_not_have(tmp_path):
    table = table_folder(tmp_path / "table", 2)
    with pytest.raises(InvalidInput, match=r"captions\.csv\) has no splits: leave out the split 'train'"):
        open_raw(table, Columns(split="train"))
    pictures = tmp_path / "files"
    pictures.mkdir()
    (pictures / "0.jpg").write_bytes(picture(0))
    (pictures / "0.txt").write_text("a dog")
    with pytest.raises(InvalidInput, match="has no columns: leave out 'text'"):
        open_raw(pictures, Columns(caption="text"))
    assert open_raw(pictures).total == 1


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def test_img2dataset_tars_parquet_and_files(tmp_path):
    import pyarrow
    from pyarrow import parquet

    entries = [
        {"key": f"00000000{n}", "caption": caption(n), "url": f"http://example.org/{n}.jpg"} for n in range(3)
    ]
    for name in ("tars", "parquet", "files/00000"):
        (tmp_path / name).mkdir(parents=True)
    with tarfile.open(tmp_path / "tars" / "00000.tar", "w") as tar:
        for number, entry in enumerate(entries):
            add(tar, f"{entry['key']}.jpg", picture(number))
            add(tar, f"{entry['key']}.txt", entry["caption"].encode())
            add(tar, f"{entry['key']}.json", json.dumps(entry).encode())
    rows = [{**entry, "jpg": picture(number)} for number, entry in enumerate(entries)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "parquet" / "00000.parquet")
    for number, entry in enumerate(entries):
        path = tmp_path / "files" / "00000" / entry["key"]
        path.with_suffix(".jpg").write_bytes(picture(number))
        path.with_suffix(".txt").write_text(entry["caption"], encoding="utf-8")
    for name in ("tars", "parquet", "files"):
        prepare_shards(open_raw(tmp_path / name), tmp_path / f"{name}-out")
        written = contents(tmp_path / f"{name}-out")
        assert [each["jpg"] for each in written.values()] == [picture(n) for n in range(3)], name
        texts = [json.loads(each["json"])["captions"][0]["text"] for each in written.values()]
        assert texts == [caption(n) for n in range(3)], name
    # The Parquet files that img2dataset lays beside its tars hold no pictures and are left alone.
    assert open_raw(tmp_path / "tars").kind == "1 WebDataset tars"


def test_broken_ones_are_left_out_and_named(tmp_path, caplog):
    source = table_folder(tmp_path / "in", 20, broken=(3,))
    (source / "0007.jpg").write_bytes(b"")
    (source / "0008.jpg").unlink()
    Image.new("CMYK", (20, 20)).save(source / "0009.jpg")
    done = prepare_shards(open_raw(source), tmp_path / "out", most_broken=0.2)
    assert [each.source for each in done.broken] == ["0003.jpg", "0007.jpg", "0008.jpg"]
    assert all(each.broken for each in done.broken)
    assert "0008.jpg" in caplog.text
    assert len(contents(tmp_path / "out")) == 17
    with pytest.raises(InvalidInput, match=r"3 of 20 .*\n  0003.jpg: "):
        prepare_shards(open_raw(source), tmp_path / "strict")
    again = prepare_shards(open_raw(source), tmp_path / "out", most_broken=0.2)
    assert [each.source for each in again.broken] == ["0003.jpg", "0007.jpg", "0008.jpg"]


def test_killed_and_run_again(tmp_path):
    source = table_folder(tmp_path / "in", 120)
    prepare_shards(open_raw(source), tmp_path / "straight", shard_size=10)
    program = (
        "import sys, time; from pathlib import Path; from siglip2.data.prepare import prepare_shards;"
        "from siglip2.data.raw_sources import open_raw;"
        "prepare_shards(open_raw(Path(sys.argv[1])), Path(sys.argv[2]), shard_size=10,"
        " advance=lambda count: time.sleep(0.02))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(source), str(tmp_path / "killed")])
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "shard-000003.tar").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.tar")}
    assert 4 <= len(before) < 12
    assert not (tmp_path / "killed" / "samples.parquet").exists()
    prepare_shards(open_raw(source), tmp_path / "killed", shard_size=10)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.tar")}
    assert {name: after[name] for name in before} == before, "finished shards are not written again"
    for path in sorted((tmp_path / "straight").glob("*.tar")):
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()
    assert read_table(tmp_path / "killed") == read_table(tmp_path / "straight")
    assert not list((tmp_path / "killed").glob(".parts"))


def test_another_source_does_not_mix_in(tmp_path):
    prepare_shards(open_raw(table_folder(tmp_path / "one", 2)), tmp_path / "out")
    with pytest.raises(InvalidInput, match="was begun with"):
        prepare_shards(open_raw(table_folder(tmp_path / "two", 3)), tmp_path / "out")
    with pytest.raises(InvalidInput, match="other things"):
        prepare_shards(open_raw(tmp_path / "one"), tmp_path / "two")


def test_another_column_or_an_edited_table_does_not_pass_for_done(tmp_path):
    source, out = table_folder(tmp_path / "in", 2), tmp_path / "out"
    table = source / "captions.csv"
    table.write_text("path,caption,other\n0000.jpg,a dog runs,a cat sleeps\n0001.jpg,a dog,a cat\n")
    prepare_shards(open_raw(source), out)
    prepare_shards(open_raw(source, Columns(caption="caption")), out)
    with pytest.raises(InvalidInput, match=r"'caption': 'caption'.*, and this is .*'caption': 'other'"):
        prepare_shards(open_raw(source, Columns(caption="other")), out)
    table.write_text(table.read_text().replace("dog", "fox"))
    with pytest.raises(InvalidInput, match="fingerprint"):
        prepare_shards(open_raw(source), out)


def test_tars_and_texts_that_were_changed_do_not_pass_for_done(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "0.jpg").write_bytes(picture(0))
    for text in ("a brown dog", "a black dog"):
        (source / "0.txt").write_text(text)
        with tarfile.open(tmp_path / "0.tar", "w") as tar:
            tar.add(source / "0.jpg", "0.jpg")
            tar.add(source / "0.txt", "0.txt")
        if text == "a brown dog":
            prepare_shards(open_raw(source), tmp_path / "from files")
            prepare_shards(open_raw(tmp_path / "0.tar"), tmp_path / "from tar")
    for path, out in ((source, "from files"), (tmp_path / "0.tar", "from tar")):
        with pytest.raises(InvalidInput, match="fingerprint"):
            prepare_shards(open_raw(path), tmp_path / out)


def test_nothing_known(tmp_path):
    with pytest.raises(InvalidInput, match=r"expected captions\.csv"):
        open_raw(tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("  ", []),
        ("a dog", [("a dog", None)]),
        (["a dog", "a cat"], [("a dog", None), ("a cat", None)]),
        ({"en": ["a dog"], "de_mt30k": ["ein Hund"]}, [("a dog", "en"), ("ein Hund", "de")]),
        ([{"text": "a dog", "language": "en"}], [("a dog", "en")]),
    ],
)
def test_forms_of_captions(value, expected):
    assert [(each.text, each.language) for each in captions_of(value)] == expected


def test_a_caption_that_is_a_number():
    with pytest.raises(ValueError, match="float"):
        captions_of(1.5)
