"""Small JSON files beside the weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siglip2.errors import InvalidCheckpoint


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidCheckpoint: the file is missing or holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidCheckpoint(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise InvalidCheckpoint(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidCheckpoint(f"{path} holds a {type(content).__name__}, expected an object")
    return content


def member(content: Mapping[str, Any], key: str, source: Path | str) -> dict[str, Any]:
    """An object within an object; empty where it is null or not there.

    Raises:
        InvalidCheckpoint: it is anything else.
    """
    found = content.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidCheckpoint(f"{source}: {key} is {found!r}, expected an object")
    return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object for people to read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
