"""Milvus collections of a store, and filters in Milvus's words."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from siglip2.search.files import name_words
from siglip2.search.filters import KM_PER_DEGREE, NUMBERS, Filter, checked, finite
from siglip2.search.rows import NewRow, PhotoFacts, Row, written_value

MAX_BYTES = 65_535
"""Of a string, by Milvus's own limit."""

UNKNOWN_NUMBER = -1000.0
"""No width, height, latitude or longitude; Milvus compares this more readily than a missing value."""

_OPERATORS = {"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def item_fields(data_type: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """Fields that rows are filtered by; they stand beside every vector, as Milvus joins nothing."""
    text = {"max_length": MAX_BYTES}
    return [
        ("digest", data_type.VARCHAR, {"max_length": 64}),
        ("kind", data_type.VARCHAR, {"max_length": 8}),
        ("text", data_type.VARCHAR, text),
        ("has_text", data_type.BOOL, {}),
        ("words", data_type.VARCHAR, text),
        *((name, data_type.DOUBLE, {}) for name in NUMBERS),
        ("taken_at", data_type.VARCHAR, {"max_length": 64}),
        ("camera", data_type.VARCHAR, {"max_length": 4096}),
        ("camera_small", data_type.VARCHAR, {"max_length": 4096}),
        ("columns", data_type.JSON, {}),
    ]


def item_record(row_id: int, row: NewRow) -> dict[str, Any]:
    """A row as field values, without its vector."""
    facts = row.facts
    numbers = {name: getattr(facts, name) for name in NUMBERS}
    return {
        "id": row_id,
        "digest": row.digest.hex(),
        "kind": row.kind,
        "text": row.text or "",
        "has_text": row.text is not None,
        "words": words_of([row.file.path] if row.file else [], row.text),
        "columns": dict(row.columns),
        **{name: UNKNOWN_NUMBER if value is None else float(value) for name, value in numbers.items()},
        "taken_at": facts.taken_at or "",
        "camera": facts.camera or "",
        "camera_small": (facts.camera or "").lower(),
    }


def words_of(paths: Iterable[str], text: str | None) -> str:
    """The field `words` of a row."""
    return word_list(f"{name_words(paths)} {text or ''}")


def row_of(record: dict[str, Any], paths: Sequence[str]) -> Row:
    """A row from field values."""
    known = {name: record[name] for name in NUMBERS if record[name] != UNKNOWN_NUMBER}
    size = {name: int(known.pop(name)) for name in ("width", "height") if name in known}
    facts = PhotoFacts(**known, **size, taken_at=record["taken_at"] or None, camera=record["camera"] or None)
    text = record["text"] if record["has_text"] else None
    return Row(
        id=record["id"],
        digest=bytes.fromhex(record["digest"]),
        kind=record["kind"],
        paths=tuple(paths),
        text=text,
        facts=facts,
        columns=dict(record["columns"]),
    )


def passes(condition: Filter, record: dict[str, Any]) -> bool:
    """What `to_milvus` has left: whether a place lies within the circle of `near`."""
    if condition.name != "near":
        return True
    if UNKNOWN_NUMBER in (record["latitude"], record["longitude"]):
        return False
    latitude, longitude, km = (float(part) for part in condition.value.split(","))
    east = abs(record["longitude"] - longitude)
    east = min(east, 360 - east) * max(math.cos(math.radians(latitude)), 0.01)
    return math.hypot(record["latitude"] - latitude, east) <= km / KM_PER_DEGREE


def word_list(text: str) -> str:
    """Words in small letters without accents, with a space before and behind each."""
    plain = "".join(
        letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter)
    )
    words = " ".join(re.findall(r"\w+", plain.lower().replace("_", " ")))
    # Cut between words, and short enough with the spaces around.
    return f" {words.encode()[: MAX_BYTES - 8].decode(errors='ignore')} "


def to_milvus(condition: Filter) -> str:
    """An expression for what Milvus can say; `folder` is for the caller.

    `near` becomes the belt around the circle, which the caller narrows. Values are quoted as JSON strings,
    which is Milvus's own quoting, and cannot end them.
    """
    condition = checked(condition)
    name, operator, value = condition.name, condition.operator, condition.value
    if name == "words":
        words = word_list(value).split() or [""]
        return " and ".join(f"words like {_quoted('% ' + _escaped(word) + ' %')}" for word in words)
    if name == "near":
        latitude, _, km = (float(part) for part in value.split(","))
        reach = km / KM_PER_DEGREE + 1e-9
        return f"latitude >= {latitude - reach} and latitude <= {latitude + reach}"
    if name == "camera" and operator == "~":
        return f"camera_small like {_quoted('%' + _escaped(value.lower()) + '%')}"
    if name == "taken":
        return _taken(operator, value)
    if name in ("camera", "kind"):
        known = "" if operator == "!=" else f' and {name} != ""'
        return f"{name} {_OPERATORS[operator]} {_quoted(value)}{known}"
    if name in NUMBERS:
        known = "" if operator == "!=" else f" and {name} > {UNKNOWN_NUMBER}"
        return f"{name} {_OPERATORS[operator]} {float(value)}{known}"
    field = f"columns[{_quoted(name)}]"
    if operator == "~":
        return f"{field} like {_quoted('%' + _escaped(value) + '%')}"
    number = finite(value)
    if operator not in ("=", "!="):
        return f"{field} {_OPERATORS[operator]} {_quoted(value) if number is None else number}"
    said = f"{field} {_OPERATORS[operator]} {_quoted(value)}"
    if isinstance(written_value(value), str):
        return said
    return f"{said} {'or' if operator == '=' else 'and'} {field} {_OPERATORS[operator]} {number}"


def _taken(operator: str, value: str) -> str:
    # Dates begin with what was written if they lie in that period; `~` comes after every digit and sign.
    first, behind = _quoted(value), _quoted(value + "~")
    return {
        "=": f"taken_at >= {first} and taken_at < {behind}",
        "~": f"taken_at like {_quoted('%' + _escaped(value) + '%')}",
        "!=": f"(taken_at < {first} or taken_at >= {behind})",
        "<": f'taken_at < {first} and taken_at != ""',
        "<=": f'taken_at < {behind} and taken_at != ""',
        ">": f"taken_at >= {behind}",
        ">=": f"taken_at >= {first}",
    }[operator]


def _quoted(text: str) -> str:
    return json.dumps(text.encode(errors="replace").decode(), ensure_ascii=False)


def _escaped(text: str) -> str:
    """For `like`, whose signs for anything are % and _."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
