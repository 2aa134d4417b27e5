"""`siglip2 index` and `siglip2 search`, as typed."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.search.conftest import draw_photos

from siglip2.cli.main import run
from siglip2.errors import InvalidInput
from siglip2.search import gallery
from siglip2.weights.load import save_checkpoint


@pytest.fixture
def indexed(tmp_path: Path, encoder, photos, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_checkpoint(encoder.checkpoint, tmp_path / "model")
    monkeypatch.setenv("SIGLIP2_COLLECTION", str(tmp_path / "photos.siglip2"))
    (photos / "broken.jpg").write_bytes(b"no picture")
    assert run(["index", "add", str(photos), "--model", str(tmp_path / "model")]) == 1
    return photos


def test_add_and_search(indexed, capsys):
    assert run(["index", "add", str(indexed)]) == 1
    output = capsys.readouterr()
    assert "21 photos: 0 embedded, 20 unchanged, 0 moved or copied, 1 unusable" in output.out
    assert "broken.jpg" in output.err
    assert run(["search", "a dog", "--limit", "3", "--json"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(hits) == 3
    assert hits[0]["probability"] > hits[1]["probability"]
    assert run(["search", "a dog", "--not", "zebra", "--where", "width=40", "--limit", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_paths_for_other_programs(indexed, capfdbinary):
    example = indexed / "photo_005.png"
    assert run(["search", "--image", str(example), "--paths0", "--limit", "1"]) == 0
    assert capfdbinary.readouterr().out.endswith(str(example).encode() + b"\0")


def test_copies_in_other_folders(indexed, tmp_path, capsys):
    """Of the places of one photo, the one that was asked for and is still there is printed and read."""
    first, second = tmp_path / "a copy", tmp_path / "copy"
    for folder in (first, second):
        folder.mkdir()
        (folder / "same.png").write_bytes((indexed / "photo_005.png").read_bytes())
    assert run(["index", "add", str(first), str(second)]) == 0
    example = ["search", "--image", str(indexed / "photo_005.png"), "--paths", "--limit", "1"]
    capsys.readouterr()
    assert run([*example, "--where", f"folder={second}"]) == 0
    assert capsys.readouterr().out == f"{second}/same.png\n"
    (first / "same.png").unlink()
    assert run(example) == 0
    assert capsys.readouterr().out == f"{second}/same.png\n"
    assert run(["index", "verify"]) == 0
    assert run(["index", "export", "--output", str(tmp_path / "all.npz")]) == 0
    paths = np.load(tmp_path / "all.npz")["names"]
    assert f"{second}/same.png" in paths
    assert not any(path.startswith(f"{first}/") for path in paths)


def test_exact_copies_are_duplicates(indexed, capsys):
    (indexed / "copy.png").write_bytes((indexed / "photo_005.png").read_bytes())
    run(["index", "add", str(indexed)])
    capsys.readouterr()
    assert run(["index", "duplicates", "--similarity", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["1.0000", f"  {indexed}/copy.png", f"  {indexed}/photo_005.png"]


def test_a_gallery_with_what_was_asked(indexed, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(gallery.webbrowser, "open", opened.append)
    monkeypatch.setattr(gallery.ThreadingHTTPServer, "serve_forever", lambda _: None)
    assert run(["search", "a", "dog", "--not", "a cat", "--where", "taken>2020", "width=4", "--open"]) == 0
    assert opened[0].split("/?")[1] == "q=a+dog&not=a+cat&where=taken%3E2020%3Bwidth%3D4"
    for option in (["--limit", "3"], ["--kind", "text"], ["--not", "a", "b"]):
        with pytest.raises(InvalidInput, match="--open takes"):
            run(["search", "a dog", "--open", *option])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimise", "--recall", "98"], "recall is a share"),
        (["optimise", "--recall", "nan"], "recall is a share"),
        (["verify", "--sample", "-1"], "at least 1 row"),
        (["serve", "--port", "99999"], "port 99999 is not one of"),
        (["duplicates", "--similarity", "97"], "similarity is a cosine"),
    ],
)
def test_options_out_of_range(indexed, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        run(["index", *arguments])


def test_a_model_named_from_its_folder(tmp_path, encoder, photos, monkeypatch):
    save_checkpoint(encoder.checkpoint, tmp_path / "model")
    monkeypatch.setenv("SIGLIP2_COLLECTION", str(tmp_path / "photos.siglip2"))
    monkeypatch.chdir(tmp_path)
    assert run(["index", "add", str(photos), "--model", "./model"]) == 0
    assert run(["search", "a dog", "--model", "model"]) == 0
    monkeypatch.chdir(photos)
    assert run(["search", "a dog"]) == 0


def test_no_good_match(indexed, capsys):
    assert run(["search", "a dog", "--min-probability", "0.999"]) == 1
    assert "no good match" in capsys.readouterr().err


def test_looking_after_it(indexed, tmp_path, capsys):
    assert run(["index", "optimise"]) == 0
    assert run(["index", "verify"]) == 0
    assert run(["index", "stats"]) == 0
    assert "recall@10 1.0000 of exact" in capsys.readouterr().out
    draw_photos(indexed / "more", 1)[0].rename(indexed / "again.png")
    image = (indexed / "photo_001.png").read_bytes()
    (indexed / "photo_001.bmp").write_bytes(image + b" ")
    run(["index", "add", str(indexed)])
    capsys.readouterr()
    assert run(["index", "duplicates", "--similarity", "0.9999"]) == 0
    assert "photo_001.bmp" in capsys.readouterr().out
    assert run(["index", "export", "--output", str(tmp_path / "all.npz")]) == 0
    assert run(["index", "remove", str(indexed / "photo_002.png")]) == 0
    assert "1 photos removed" in capsys.readouterr().out


def test_captions_by_picture(indexed, tmp_path, capsys):
    table = tmp_path / "products.csv"
    table.write_text("name,price\nshoe,10\nhat,30\n")
    other = ["--collection", str(tmp_path / "products.siglip2")]
    command = ["index", "add-texts", str(table), "--text-column", "name", "--model", str(tmp_path / "model")]
    assert run([*command, *other]) == 0
    image = str(indexed / "photo_001.png")
    capsys.readouterr()
    assert run(["search", "--image", image, "--where", "price<20", "--paths", *other]) == 0
    assert capsys.readouterr().out == "shoe\n"


def products(folder: Path, name: str, content: str) -> list[str]:
    (folder / name).write_text(content)
    command = ["index", "add-texts", str(folder / name), "--model", str(folder / "model")]
    return [*command, "--text-column", "name", "--collection", str(folder / "products.siglip2")]


@pytest.mark.parametrize("name", ["P.CSV", "p.tsv"])
def test_tables_as_people_have_them(indexed, tmp_path, capsys, name):
    table = "name,sku,price,note\n1984,00123,19.90,NaN\n1985,7,1e5,inf\n"
    assert run(products(tmp_path, name, table.replace(",", "\t") if name == "p.tsv" else table)) == 0
    place = ["--collection", str(tmp_path / "products.siglip2")]
    search = ["search", "--image", str(indexed / "photo_001.png"), "--json", *place]
    capsys.readouterr()
    assert run([*search, "--where", "price<20"]) == run([*search, "--where", "sku=00123"]) == 0
    hits = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    assert [(hit["text"], hit["columns"]) for hit in hits] == [
        ("1984", {"sku": "00123", "price": 19.9, "note": "NaN"})
    ] * 2
    assert run(["index", "remove", "--where", "sku=00123", *place]) == 0
    assert "1 texts removed" in capsys.readouterr().out
    assert run(products(tmp_path, "corrected.csv", table.splitlines()[0] + "\n1984,00123,18,\n")) == 0
    assert run(search) == 0
    assert capsys.readouterr().out.count('"text"') == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "name,price\nshoe,1,2\n", r"p.csv, line 2 has more cells"),
        ("p.csv", "name\n" + 200_000 * "x", r"p.csv, after line 1, is not CSV: field larger"),
        ("p.jsonl", "[1]\n", r"p.jsonl, line 1 is not a JSON object"),
        ("p.jsonl", "7\n", r"p.jsonl, line 1 is not a JSON object"),
        ("p.jsonl", "{\n", r"p.jsonl, line 1 is not JSON"),
        ("p.jsonl", '{"name": "shoe", "price": NaN}\n', r"column 'price' has nan"),
        ("p.csv", "title\nshoe\n", r"without text in the column 'name'"),
        ("p.csv", "name,width\nshoe,1\n", r"column 'width' has the name of a filter"),
        ("p.xlsx", "PK", r"is not .txt"),
    ],
)
def test_tables_that_cannot_be_used_leave_no_collection(tmp_path, name, content, message):
    with pytest.raises(InvalidInput, match=message):
        run(products(tmp_path, name, content))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_mistakes(tmp_path):
    with pytest.raises(InvalidInput, match="there is no collection"):
        run(["search", "a dog", "--collection", str(tmp_path / "none")])
    with pytest.raises(InvalidInput, match="at least one path"):
        run(["index", "add"])
    with pytest.raises(InvalidInput, match="what to look for"):
        run(["search"])
    for action in ("add", "add-texts"):
        with pytest.raises(InvalidInput, match=r"no file or folder|cannot be read: No such file"):
            run(["index", action, str(tmp_path / "none"), "--collection", str(tmp_path / "new")])
    assert not any(tmp_path.iterdir())
