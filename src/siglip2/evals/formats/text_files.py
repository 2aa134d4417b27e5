"""JSON, lines and tables of data sets; what cannot be read is said in a sentence that names the file."""

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siglip2.errors import InvalidInput


def read_text(path: Path) -> str:
    """A file of UTF-8, gzipped if its name ends so.

    Raises:
        InvalidInput: it is missing, cannot be opened, or is no UTF-8.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is no UTF-8, byte {error.start} is the first that is not") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file, gzipped or not.

    Raises:
        InvalidInput: it cannot be read, or holds no JSON.
    """
    return _parsed(read_text(path), str(path))


def read_lines(path: Path) -> list[str]:
    """Lines that are not blank.

    Raises:
        InvalidInput: it cannot be read.
    """
    return lines_of(read_text(path))


def lines_of(text: str) -> list[str]:
    """Lines that are not blank, ended as editors end them.

    Not `splitlines`, to which U+2028 and its kin are ends as well: they stand inside of captions.
    """
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip()]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """A JSON object a line.

    Raises:
        InvalidInput: it cannot be read, or a line holds none.
    """
    # Blank lines count here, so that messages have the numbers that an editor shows.
    lines = enumerate(read_text(path).split("\n"), 1)
    entries = [_parsed(line, f"{path}, line {number},") for number, line in lines if line.strip()]
    if not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput(f"{path} is expected to hold a JSON object a line")
    return entries


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a table with a line of names.

    Args:
        path: of the table.
        columns: that it needs.

    Raises:
        InvalidInput: it cannot be read, is empty where columns are needed, or lacks one, be it in one row.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise InvalidInput(f"{path} cannot be read as a table: {error}") from error
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise InvalidInput(f"{path} is empty or has no column {', '.join(missing)}")
    for number, row in enumerate(rows, 1):
        absent = [name for name in columns if row[name] is None]
        if absent:
            raise InvalidInput(f"{path}, row {number}, has no {', '.join(absent)}: it ends before")
    return rows


@contextlib.contextmanager
def laid_out(path: Path) -> Iterator[None]:
    """Around code that takes the content of a file apart: what is not there is the file's fault.

    Args:
        path: of the file, or of the folder that holds it.

    Raises:
        InvalidInput: an entry is missing, or of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, EOFError) as error:
        raise InvalidInput(
            f"{path} is not laid out as its publisher does: {type(error).__name__}: {error}"
        ) from error


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{name} holds no JSON: {error}") from error
