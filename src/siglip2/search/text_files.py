"""Texts and their columns: read from files (lines, CSV, tab-separated, JSON lines), and made into rows."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from siglip2.errors import InvalidInput
from siglip2.rows import csv_rows, json_rows, opened_text
from siglip2.search.filters import RESERVED
from siglip2.search.rows import NewRow, Value, written_value

TextRow: TypeAlias = str | Mapping[str, Value]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINES = ("", ".txt")


def read_texts(path: Path, text_column: str) -> Iterator[dict[str, Value]]:
    """Rows of a file; its ending says how it is written.

    Args:
        path: .txt (or no ending) with one text a line, .csv or .tsv with a line of names, .jsonl.
        text_column: its cells stay text; numbers in others become numbers (`written_value`).

    Raises:
        InvalidInput: another ending, a file that cannot be read, or a line that is no row.
    """
    ending = path.suffix.lower()
    if ending not in (*_LINES, *_DELIMITERS, ".jsonl"):
        raise InvalidInput(
            f"{path} is not .txt (one text a line), .csv, .tsv or .jsonl: convert or rename it"
        )
    if ending in _DELIMITERS:
        for row in csv_rows(path, _DELIMITERS[ending]):
            yield {
                name: cell if cell is None or name == text_column else written_value(cell)
                for name, cell in row.items()
            }
    elif ending == ".jsonl":
        yield from json_rows(path)
    else:
        with opened_text(path) as file:
            for line in file:
                if line.strip():
                    yield {text_column: line.strip()}


def text_row(row: TextRow, text_column: str) -> NewRow:
    """A text and its columns as a row without a vector.

    Raises:
        InvalidInput: no text, a column named as a filter on photos, or a value of nan or inf.
    """
    columns = {text_column: row} if isinstance(row, str) else dict(row)
    text = columns.pop(text_column, None)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"a row without text in the column {text_column!r}: {row!r}")
    for name, value in columns.items():
        if name in RESERVED:
            raise InvalidInput(
                f"the column {name!r} has the name of a filter on photos: rename it, as to 'product_{name}'"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"the column {name!r} has {value}: leave it out, or give None ({text[:40]!r})")
    content = repr((text, sorted(columns.items()))).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(content, digest_size=20, person=b"siglip2 text").digest()
    return NewRow(digest=digest, vector=None, kind="text", text=text, columns=columns)
