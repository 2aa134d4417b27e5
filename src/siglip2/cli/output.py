"""How results leave a command: tables with bars on a terminal, tab-separated lines in a pipe, JSON, CSV."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from siglip2.errors import InvalidInput

Value = str | float


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The shape of a result.

    Attributes:
        names: of one row, as they appear in every format. The first two are the photo and a text.
        bar: the column that a bar stands for.
        shares: columns that are shown in percent on a terminal.
        list_name: key of the rows of one photo in JSON.
    """

    names: tuple[str, ...]
    bar: str
    shares: tuple[str, ...]
    list_name: str


class Writer(Protocol):
    """Prints the rows of one photo at a time, so that whatever is finished is out."""

    def write(self, photo: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Print; every row has all columns but the photo."""
        ...


def check_file(option: str, path: Path) -> None:
    """Say before the work what would fail after it.

    Raises:
        InvalidInput: a file cannot be written there; names the option.
    """
    if path.is_dir():
        raise InvalidInput(f"{option} {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InvalidInput(f"{option} {path}: there is no folder {path.parent}")


def open_writer(columns: Columns, *, as_json: bool, as_csv: bool, texts: Iterable[str]) -> Writer:
    """The writer for where the output goes.

    Args:
        columns: shape of the rows.
        as_json: one JSON object a line.
        as_csv: comma-separated with a header.
        texts: what the second column may hold; a terminal's columns are as wide as needed for it.

    Raises:
        InvalidInput: two formats at once.
    """
    if as_json and as_csv:
        raise InvalidInput("--json and --csv exclude each other")
    if as_json:
        return JsonWriter(columns)
    if as_csv:
        return CsvWriter(columns)
    return TableWriter(columns, list(texts)) if sys.stdout.isatty() else PlainWriter(columns)


class JsonWriter:
    """One object a line: {"photo": ..., LIST_NAME: [{...}, ...]}."""

    def __init__(self, columns: Columns):
        self._columns = columns

    def write(self, photo: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Print one object."""
        print(
            json.dumps({"photo": photo, self._columns.list_name: list(rows)}, ensure_ascii=False), flush=True
        )


class CsvWriter:
    """A header, then one line a row."""

    def __init__(self, columns: Columns):
        self._columns = columns
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(columns.names)

    def write(self, photo: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Print the rows."""
        for row in rows:
            self._writer.writerow([photo, *(row[name] for name in self._columns.names[1:])])
        sys.stdout.flush()


class PlainWriter:
    """Tab-separated values without a header, for `cut`, `sort` and `awk`."""

    def __init__(self, columns: Columns):
        self._columns = columns

    def write(self, photo: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Print the rows."""
        for row in rows:
            print(
                "\t".join(
                    _plain(value) for value in (photo, *(row[name] for name in self._columns.names[1:]))
                )
            )
        sys.stdout.flush()


class TableWriter:
    """A photo's name, then its rows with bars."""

    BAR_WIDTH = 24
    NARROW_BAR_WIDTH = 6
    TEXT_WIDTH = 44
    SPACE = 2

    def __init__(self, columns: Columns, texts: Sequence[str]):
        from rich.cells import cell_len
        from rich.console import Console

        self._columns = columns
        self._console = Console()
        longest = max((cell_len(text) for text in texts), default=0)
        self._text_width = max(min(longest, self.TEXT_WIDTH), len(columns.names[1]))
        self._number_widths = [max(len(name), 7) for name in columns.names[2:]]
        others = [self._text_width, *self._number_widths]
        # In a narrow terminal the bar gives way, not the numbers.
        left = self._console.width - sum(others) - self.SPACE * (len(others) + 1)
        self._bar_width = max(self.NARROW_BAR_WIDTH, min(self.BAR_WIDTH, left))
        self._first = True

    def write(self, photo: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Print a small table."""
        from rich.bar import Bar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=self._first, header_style="dim", padding=(0, self.SPACE, 0, 0))
        self._first = False
        table.add_column(self._columns.names[1], width=self._text_width)
        table.add_column("", width=self._bar_width)
        numbers = self._columns.names[2:]
        for name, width in zip(numbers, self._number_widths, strict=True):
            table.add_column(name, justify="right", width=width)
        for row in rows:
            share = float(row[self._columns.bar])
            bar = Bar(1.0, 0.0, share, width=self._bar_width, color="cyan")
            shown = (
                _percent(row[name]) if name in self._columns.shares else f"{row[name]:.2f}"
                for name in numbers
            )
            table.add_row(Text(str(row[self._columns.names[1]])), bar, *shown)
        self._console.print(Text(photo, style="bold"))
        self._console.print(table)


def _plain(value: Value) -> str:
    if isinstance(value, str):
        return value.replace("\t", " ").replace("\n", " ")
    return f"{value:.6g}"


def _percent(value: Value) -> str:
    percent = 100 * float(value)
    if percent >= 0.1 or percent == 0:
        return f"{percent:.1f} %"
    return f"{percent:.3f} %" if percent >= 0.001 else f"{percent:.0e} %"
