"""Tables and JSON lines as people and their programs write them."""

import json

import pytest

from siglip2.errors import InvalidInput
from siglip2.rows import csv_rows, json_rows


def test_tables_as_spreadsheets_save_them(tmp_path):
    path = tmp_path / "table.csv"
    # A byte order mark, ends of lines of Windows, a delimiter after the last cell, a row that stops early.
    path.write_bytes('\ufeffname;note;\r\n"shoe; red";"two\r\nlines";\r\nhat\r\n'.encode())
    rows = [{name: row[name] for name in ("name", "note")} for row in csv_rows(path, ";")]
    assert rows == [{"name": "shoe; red", "note": "two\r\nlines"}, {"name": "hat", "note": None}]
    path.write_text("name,note\nshoe,red,\nhat,black,,\n")
    assert [row["note"] for row in csv_rows(path)] == ["red", "black"]


def test_lines_end_at_line_feeds_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "one\u2028line\x85 still"}, {"text": "two"}]
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n", newline="")
    assert list(json_rows(path)) == rows


@pytest.mark.parametrize("read", [csv_rows, json_rows])
def test_what_is_no_text_is_named(tmp_path, read):
    path = tmp_path / "rows"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="rows is not text in UTF-8"):
        list(read(path))
    with pytest.raises(InvalidInput, match="missing cannot be read: No such file"):
        list(read(tmp_path / "missing"))
