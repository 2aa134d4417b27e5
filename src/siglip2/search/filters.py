"""Filters on rows: `taken>=2020-06`, `camera~canon`, `folder=/photos`, `price<20`, `near=47.4,8.5,10`."""

import math
import os
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from siglip2.errors import InvalidInput

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
"""Names of a filter that are not a column of the user's."""

_PATTERN = re.compile(r"\s*([^<>=!~]+?)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
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
        InvalidInput: it is not of the form NAME OPERATOR VALUE.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"the filter {text!r} is not NAME OPERATOR VALUE, such as taken>=2020-06, camera~canon, "
            "folder=/photos/2021, near=47.37,8.54,10 (latitude, longitude, km), words~beach, price<20"
        )
    name, operator, value = match.groups()
    if name in ("folder", "near", "words") and operator not in ("=", "~"):
        raise InvalidInput(f"the filter {text!r}: {name} takes = only")
    result = Filter(name, operator, value)  # pyright: ignore[reportArgumentType]
    to_sql(result)  # says now what would fail later
    return result


def folder_path(folder: str) -> str:
    """The folder of a filter as it stands in the paths of rows."""
    return os.path.abspath(os.path.expanduser(folder))


def to_sql(condition: Filter) -> tuple[str, list[object]]:
    """A condition on the table `items`, with its parameters; no part of a value is ever SQL.

    Raises:
        InvalidInput: a value that its name cannot have.
    """
    if condition.name == "folder":
        return _in_folder(condition.value)
    if condition.name == "near":
        return _near(condition.value)
    if condition.name == "words":
        quoted = " ".join('"' + word.replace('"', '""') + '"' for word in condition.value.split())
        if not quoted:
            raise InvalidInput("the filter words= needs at least one word")
        return "items.id IN (SELECT rowid FROM words WHERE words MATCH ?)", [quoted]
    if condition.name in FIELDS:
        column, parameters = FIELDS[condition.name], []
    else:
        # Not json_extract: its paths have no way to write a quote.
        column = "(SELECT value FROM json_each(items.columns) WHERE key = ?)"
        parameters = [condition.name]
    if condition.operator == "~":
        return f"instr(lower({column}), lower(?)) > 0", [*parameters, condition.value]
    if condition.name == "taken":
        return _whole_period(condition, column)
    value = condition.value if condition.name in ("camera", "kind") else _number(condition.value)
    return f"{column} {_SQL_OPERATORS[condition.operator]} ?", [*parameters, value]


def _whole_period(condition: Filter, column: str) -> tuple[str, list[object]]:
    """`2020-06` stands for the whole month: comparisons look at as much of a date as was written."""
    compared = f"substr({column}, 1, {len(condition.value)})"
    return f"{compared} {_SQL_OPERATORS[condition.operator]} ?", [condition.value]


def _in_folder(folder: str) -> tuple[str, list[object]]:
    start = os.fsencode(os.path.join(folder_path(folder), ""))
    inside = "SELECT item FROM files WHERE path >= ? AND path < ?"
    return f"items.id IN ({inside})", [start, start[:-1] + bytes([start[-1] + 1])]


def _near(value: str) -> tuple[str, list[object]]:
    try:
        latitude, longitude, km = (float(part) for part in value.split(","))
    except ValueError:
        raise InvalidInput(f"near={value} must be latitude,longitude,km such as near=47.37,8.54,10") from None
    # A flat map is good to a few percent over the distances that photos are looked for in.
    shrink = max(math.cos(math.radians(latitude)), 0.01)
    east = "(abs(items.longitude - ?) - 360 * (abs(items.longitude - ?) > 180)) * ?"
    north = "(items.latitude - ?)"
    sql = f"({north} * {north} + {east} * {east}) <= ?"
    of_east = [longitude, longitude, shrink]
    return sql, [latitude, latitude, *of_east, *of_east, (km / KM_PER_DEGREE) ** 2]


def _number(value: str) -> object:
    try:
        return float(value)
    except ValueError:
        return value
