"""A bad row is left out and named, or refused with a sentence that says where it is."""

import json

import pytest
from data_fixtures import picture, table_folder

pytest.importorskip("webdataset", reason="needs siglip2[data]")
pytest.importorskip("megatron.energon", reason="needs siglip2[data]")
pytest.importorskip("py3langid", reason="needs siglip2[data]")

from siglip2.cli.main import run
from siglip2.data.check import check_shards
from siglip2.data.folder import captioned_folder
from siglip2.data.inspection import Inspection, read_lines, read_table, write_lines
from siglip2.data.prepare import prepare_shards
from siglip2.data.raw_sources import open_raw, read_rows
from siglip2.data.regions import add_regions
from siglip2.errors import InvalidInput

HALF = "\\ud83d"
"""As JSON spells the first half of a character that takes two."""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f'{{"path": "0001.jpg", "caption": "a dog {HALF}"}}', "half a character"),
        (f'{{"path": "{HALF}.jpg", "caption": "a dog"}}', "surrogates not allowed"),
        ('{"path": "0001.jpg"}', "no caption"),
        ('{"path": "0001.jpg", "caption": "a dog", "language": 3}', "a language is 3"),
        ('{"path": "0001.jpg", "caption": "a dog", "language": ["en"]}', r"a language is \['en'\]"),
        (f'{{"path": "0001.jpg", "caption": "a dog", "language": "{HALF}"}}', "half a character"),
    ],
)
def test_a_bad_row_is_left_out_and_named(tmp_path, row, reason):
    source = table_folder(tmp_path / "in", 2, ending="jsonl")
    table = source / "captions.jsonl"
    table.write_text(table.read_text().splitlines()[0] + f"\n{row}\n")
    done = prepare_shards(open_raw(source), tmp_path / "out", most_broken=0.5)
    assert [each.source for each in done.samples] == ["0000.jpg"]
    with pytest.raises(InvalidInput, match=reason):
        prepare_shards(open_raw(source), tmp_path / "strict")
    again = prepare_shards(open_raw(source), tmp_path / "out", most_broken=0.5)
    assert list(again.broken) == list(done.broken)


def test_names_of_files_that_are_no_text(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\udcff.jpg").write_bytes(picture(0))
    (tmp_path / "in" / "\udcff.txt").write_text("a dog")
    done = prepare_shards(open_raw(tmp_path / "in"), tmp_path / "out")
    assert [each.source for each in done.samples] == [r"\udcff.jpg"]
    assert read_table(tmp_path / "out")[0].source == r"\udcff.jpg"


@pytest.mark.parametrize(
    "entry",
    [
        f'{{"captions": ["a dog {HALF}"]}}',
        f'{{"captions": ["a dog"], "url": "{HALF}"}}',
        '{"captions": [{"text": "a dog", "language": 3}]}',
    ],
)
def test_shards_of_others_with_texts_that_are_none(tmp_path, entry):
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    (tmp_path / "in").mkdir()
    with TarWriter(str(tmp_path / "in" / "0.tar"), encoder=False) as tar:
        tar.write({"__key__": "good", "jpg": picture(0), "txt": b"a dog"})
        tar.write({"__key__": "bad", "jpg": picture(1), "json": entry.encode()})
    assert [each.key for each in check_shards(tmp_path / "in").broken] == ["bad"]
    kept = add_regions(tmp_path / "in", tmp_path / "out", lambda picture, phrases: [])
    assert [each.key for each in kept] == ["good"]


def test_ends_of_lines_within_a_text(tmp_path):
    caption, source = "a dog\u2028runs\x85away", tmp_path / "in"
    table_folder(source, 1, ending="jsonl")
    row = {"path": "0000.jpg", "caption": caption}
    (source / "captions.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode() + b"\r\n\r\n")
    assert list(read_rows(source / "captions.jsonl")) == [row]
    assert captioned_folder(source, 8).captions == [[caption]]
    inspected = [Inspection(key="0", shard="0.tar", source=caption), Inspection(key="1", shard="0.tar")]
    write_lines(inspected, tmp_path / "lines.jsonl")
    assert read_lines(tmp_path / "lines.jsonl") == inspected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("captions.csv", "path,caption\n0000.jpg,grün\n".encode("latin-1"), "not text in UTF-8"),
        ("captions.csv", b"path,caption\n0000.jpg,a dog, a cat\n", "line 2 has more cells"),
        (
            "captions.csv",
            b"path,caption\n0000.jpg," + b"a" * 140_000,
            "after line 1, is not CSV",
        ),
        ("captions.jsonl", b'{"path": "0000.jpg", "caption": "a dog"}\n[1]\n', "line 2 is not a JSON object"),
        ("captions.jsonl", b"{\n", "line 1 is not JSON"),
        ("captions.parquet", b"path,caption", "is not Parquet"),
    ],
)
def test_a_table_that_is_none(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        open_raw(tmp_path)


def test_cells_too_many_that_are_empty(tmp_path):
    (tmp_path / "captions.csv").write_text("path,caption\n0000.jpg,a dog,,\n")
    assert list(read_rows(tmp_path / "captions.csv")) == [{"path": "0000.jpg", "caption": "a dog"}]


def test_what_cannot_be_written_is_said_first(tmp_path):
    source = table_folder(tmp_path / "in", 20)
    out, file, nowhere = tmp_path / "shards", tmp_path / "file", str(tmp_path / "nowhere" / "page")
    file.write_text("{")
    with pytest.raises(InvalidInput, match="is a file; name a new folder"):
        run(["data", "prepare", str(source), str(file)])
    assert run(["data", "prepare", str(source), str(out)]) == 0
    for arguments, said in (
        (["check", str(out), "--report", nowhere], "there is no folder"),
        (["check", str(out), "--report", str(source)], "is a folder; name a file"),
        (["check", str(out / "shard-000000.tar"), "--index"], "name the folder of"),
        (["balance", str(out), nowhere], "there is no folder"),
        (["balance", str(out), str(tmp_path / "b"), "--report", nowhere], "there is no folder"),
        (["balance", str(out), str(tmp_path / "b"), "--targets", str(file)], "holds no shares"),
        (["balance", str(out), str(tmp_path / "b"), "--traits", f"{nowhere}.csv"], "cannot be read: No such"),
    ):
        with pytest.raises(InvalidInput, match=said):
            run(["data", *arguments])


def test_an_index_of_compressed_tars_is_refused_before_they_are_read(tmp_path, monkeypatch):
    (tmp_path / "0.tar").write_bytes(b"")
    (tmp_path / "1.tar.gz").write_bytes(b"")
    monkeypatch.setattr("siglip2.data.check.check_shards", lambda *arguments, **options: pytest.fail("read"))
    with pytest.raises(InvalidInput, match="compressed tars"):
        run(["data", "check", str(tmp_path), "--index"])


def test_a_report_is_written_although_the_index_cannot_be(tmp_path, capsys):
    from webdataset import TarWriter  # pyright: ignore[reportAttributeAccessIssue]

    for name in ("a.tar", "b.tar"):
        with TarWriter(str(tmp_path / name), encoder=False) as tar:
            tar.write({"__key__": "same", "jpg": picture(0), "txt": b"a dog"})
    page = tmp_path / "page.html"
    with pytest.raises(InvalidInput, match="cannot be indexed"):
        run(["data", "check", str(tmp_path), "--index", "--report", str(page)])
    assert "stands for more than one sample" in page.read_text(encoding="utf-8")
    assert "stands for more than one sample" in capsys.readouterr().out
