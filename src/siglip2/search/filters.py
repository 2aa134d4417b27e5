"""Filters on rows: `taken>=2020-06`, `camera~canon`, `folder=/photos`, `price<20`, `near=47.4,8.5,10`."""

import math
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from siglip2.errors import InvalidInput
from siglip2.search.rows import Kind, written_value

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]

FIELDS = {
    "taken": "items.taken_at",
    "camera": "items.camera",
    "width": "items.width",
    "height": "items.height",
    "kind": "items.kind",
    "latitude": "items.latitude",
    "longitude": "items.longitude",
}
"""What photos' files say; names of a filter that are not a column of the user's."""

RESERVED = frozenset({*FIELDS, "folder", "near", "words"})
"""Columns of the user's cannot have these names: a filter would look elsewhere."""

NUMBERS = ("width", "height", "latitude", "longitude")

_OPERATOR = re.compile(r"<=|>=|!=|[<>=~]")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")
KM_PER_DEGREE = 111.2
_SQL_OPERATORS = {"=": "=", "!=": "IS NOT", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True)
class Filter:
    """One condition.

    Attributes:
        name: a key of FIELDS, `folder`, `near`, `words`, or a column of the user's.
        operator: `~` means "contains", ignoring case.
        value: as written.
    """

    name: str
    operator: Operator
    value: str


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        InvalidInput: it is not of the form NAME OPERATOR VALUE, or holds NUL, which SQLite cannot look for.
    """
    if "\0" in text:
        raise InvalidInput(f"the filter {text!r} holds the character NUL")
    written = split_filter(text)
    if written is None:
        raise InvalidInput(
            f"the filter {text!r} is not NAME OPERATOR VALUE, such as taken>=2020-06, camera~canon, "
            "folder=/photos/2021, near=47.37,8.54,10 (latitude, longitude, km), words~beach, price<20"
        )
    if written.name in ("folder", "near", "words") and written.operator not in ("=", "~"):
        raise InvalidInput(f"the filter {text!r}: {written.name} takes = only")
    result = checked(written)
    to_sql(result)  # says now what would fail later
    return result


def split_filter(text: str) -> Filter | None:
    """Name, operator and value as they are written, unchecked; None where a text has not these three."""
    found = _OPERATOR.search(text)
    name = "" if found is None else text[: found.start()].strip()
    if found is None or not name or "!" in name:
        return None
    return Filter(name, found[0], text[found.end() :].strip())  # pyright: ignore[reportArgumentType]


def checked(condition: Filter) -> Filter:
    """The condition with its date as rows have it.

    Raises:
        InvalidInput: a date, number or kind that nothing could be compared with.
    """
    name, operator, value = condition.name, condition.operator, condition.value
    if name == "kind" and (operator not in ("=", "!=") or value not in get_args(Kind)):
        raise InvalidInput(f"the filter {name}{operator}{value}: kind= or kind!= takes image or text")
    if name in NUMBERS and (operator == "~" or finite(value) is None):
        raise InvalidInput(
            f"the filter {name}{operator}{value}: {name} is compared with a number, as in {name}>=9"
        )
    if name == "taken" and operator != "~":
        return replace(condition, value=_date(value))
    return condition


def finite(text: str) -> float | None:
    """The number that a text says; None where it says none, or nan or inf."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def folder_path(folder: str) -> str:
    """The folder of a filter as it stands in the paths of rows."""
    return os.path.abspath(os.path.expanduser(folder))


def to_sql(condition: Filter) -> tuple[str, list[object]]:
    """A condition on the table `items`, with its parameters; no part of a value is ever SQL.

    Raises:
        InvalidInput: a value that its name cannot have.
    """
    condition = checked(condition)
    if condition.name == "folder":
        return _in_folder(condition.value)
    if condition.name == "near":
        return _near(condition.value)
    if condition.name == "words":
        quoted = " ".join('"' + word.replace('"', '""') + '"' for word in condition.value.split())
        if not quoted:
            raise InvalidInput("the filter words= needs at least one word")
        return "items.id IN (SELECT rowid FROM words WHERE words MATCH ?)", [quoted]
    if condition.name not in FIELDS:
        return _own_column(condition)
    column = FIELDS[condition.name]
    if condition.operator == "~":
        return f"instr(casefold({column}), ?) > 0", [condition.value.casefold()]
    if condition.name == "taken":
        return _whole_period(condition, column)
    value = finite(condition.value) if condition.name in NUMBERS else condition.value
    return f"{column} {_SQL_OPERATORS[condition.operator]} ?", [value]


def _own_column(condition: Filter) -> tuple[str, list[object]]:
    name, operator, value = condition.name, condition.operator, condition.value
    # Not json_extract: its paths have no way to write a quote.
    found = "SELECT value FROM json_each(items.columns) WHERE key = ?"
    if operator == "~":
        return f"instr(casefold(({found})), ?) > 0", [name, value.casefold()]
    if operator in ("=", "!="):
        # 7 may stand there as a number or as text; without the column, it is not 7.
        equal = f"coalesce(({found}) IN (?, ?), 0)"
        return f"{equal} = {int(operator == '=')}", [name, value, written_value(value)]
    number = finite(value)
    # To SQLite every number is less than any text.
    types = "'text'" if number is None else "'integer', 'real'"
    return f"({found} AND type IN ({types})) {operator} ?", [name, value if number is None else number]


def _whole_period(condition: Filter, column: str) -> tuple[str, list[object]]:
    """`2020-06` stands for the whole month: comparisons look at as much of a date as was written."""
    compared = f"substr({column}, 1, {len(condition.value)})"
    return f"{compared} {_SQL_OPERATORS[condition.operator]} ?", [condition.value]


def _in_folder(folder: str) -> tuple[str, list[object]]:
    start = os.fsencode(os.path.join(folder_path(folder), ""))
    inside = "SELECT item FROM files WHERE path >= ? AND path < ?"
    return f"items.id IN ({inside})", [start, start[:-1] + bytes([start[-1] + 1])]


def _near(value: str) -> tuple[str, list[object]]:
    numbers = [number for part in value.split(",") if (number := finite(part)) is not None]
    if len(numbers) != 3 or value.count(",") != 2:
        raise InvalidInput(f"near={value} must be latitude,longitude,km such as near=47.37,8.54,10")
    latitude, longitude, km = numbers
    # A flat map is good to a few percent over the distances that photos are looked for in.
    shrink = max(math.cos(math.radians(latitude)), 0.01)
    east = "(abs(items.longitude - ?) - 360 * (abs(items.longitude - ?) > 180)) * ?"
    north = "(items.latitude - ?)"
    sql = f"({north} * {north} + {east} * {east}) <= ?"
    of_east = [longitude, longitude, shrink]
    degrees = km / KM_PER_DEGREE
    # Not `** 2`, which refuses what a product makes infinite.
    return sql, [latitude, latitude, *of_east, *of_east, degrees * degrees]


def _date(value: str) -> str:
    """As much of `YYYY-MM-DD HH:MM:SS` as was written."""
    try:
        if not _DATE.fullmatch(value):
            raise ValueError(value)
        written = value.replace("T", " ")
        datetime.fromisoformat(written + "0001-01-01 00:00:00"[len(written) :])
    except ValueError:
        raise InvalidInput(
            f"taken is compared with a date: 2020, 2020-06, 2020-06-15 or 2020-06-15T12:00, not {value!r}"
        ) from None
    return written
