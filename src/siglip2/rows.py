"""Rows of tables and of JSON lines that people wrote; a line that is none is named in a sentence."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from siglip2.errors import InvalidInput


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[dict[str, str | None]]:
    """Rows of a table whose first line has the names; cells that a short row lacks are None.

    Args:
        path: of the table, in UTF-8.
        delimiter: between cells.

    Raises:
        InvalidInput: it cannot be read, or a row has more cells than there are names.
    """
    with opened_text(path, newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for row in reader:
                # Empty ones come of a delimiter at the end of each line.
                if any(row.pop(None, ())):  # pyright: ignore[reportCallIssue, reportArgumentType]
                    raise InvalidInput(
                        f"{path}, line {reader.line_num} has more cells than the first line names; a text "
                        "with the delimiter in it is put in quotes"
                    )
                yield row
        except csv.Error as error:
            raise InvalidInput(f"{path}, after line {reader.line_num}, is not CSV: {error}") from None


def json_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file with one a line; blank lines are passed over.

    Raises:
        InvalidInput: it cannot be read, or a line is no object.
    """
    with opened_text(path, newline="\n") as file:  # texts hold other ends of lines
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InvalidInput(f"{path}, line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InvalidInput(
                    f"{path}, line {number} is not a JSON object with named columns, such as "
                    '{"text": "a shoe"}'
                )
            yield row


@contextmanager
def opened_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file of UTF-8, with a byte order mark or without.

    Args:
        path: to read.
        newline: as `open` has it.

    Raises:
        InvalidInput: it cannot be opened or read, or is no UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text in UTF-8 ({error}); save it in that encoding") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
