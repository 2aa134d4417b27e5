"""Texts and their columns: read from files (lines, CSV, tab-separated, JSON lines), and made into rows."""

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO, TypeAlias

from siglip2.errors import InvalidInput
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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if ending in _DELIMITERS:
                yield from _cells(file, path, text_column, _DELIMITERS[ending])
            elif ending == ".jsonl":
                yield from _objects(file, path)
            else:
                for line in file:
                    if line.strip():
                        yield {text_column: line.strip()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"{path} cannot be read: {reason}") from error


def _cells(file: TextIO, path: Path, text_column: str, delimiter: str) -> Iterator[dict[str, Value]]:
    reader = csv.DictReader(file, delimiter=delimiter)
    for row in reader:
        if None in row:
            raise InvalidInput(
                f"{path}, line {reader.line_num}: more cells than the first line has names; "
                "a cell with a delimiter in it needs quotes"
            )
        values: dict[str, Value] = dict(row)
        for name, cell in row.items():
            if cell is not None and name != text_column:
                values[name] = written_value(cell)
        yield values


def _objects(file: TextIO, path: Path) -> Iterator[dict[str, Value]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InvalidInput(f'{path}, line {number} is not an object such as {{"text": "a red shoe"}}')
        yield row


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
