"""What a run was begun with, `recipe.json` in its folder, so that it goes on with the same."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from siglip2.data.request import write_whole
from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import Recipe

FILE = "recipe.json"

MAY_CHANGE = (
    "schedule",
    "precision",
    "compile",
    "parallel",
    "accumulate",
    "activation_checkpointing",
    "spike_factor",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_at",
    "log_every",
    "expected",
)
"""Fields with which a run may go on otherwise: how long, how it is computed, and what is kept of it."""


def check_begun_with(recipe: Recipe, run: Path, *, data: Path | None, resumed: bool, first: bool) -> None:
    """Compare a run that goes on with what it was begun with; note that of a new one.

    Args:
        recipe: of the run.
        run: its folder.
        data: folder of the training data; None where it is not known, and not compared.
        resumed: whether the run has a state.
        first: whether this process writes.

    Raises:
        InvalidInput: names what differs.
    """
    path = run / FILE
    now = {
        "data": None if data is None else str(data.resolve()),
        "recipe": json.loads(json.dumps(asdict(recipe))),
    }
    if resumed and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        found = [
            f"{name} {old}, not {new}"
            for name, (old, new) in differences(before["recipe"], now["recipe"]).items()
            if name.partition(".")[0] not in MAY_CHANGE
        ]
        if before["data"] is not None and data is not None and before["data"] != now["data"]:
            moved = f"if they have moved, say so in {path}"
            found.append(f"the data in {before['data']}, not {now['data']} ({moved})")
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise InvalidInput(
                f"{run} was begun with {'; '.join(found[:5])}{more}. Go on with what it was begun with, or "
                "name another folder for the run"
            )
    elif first:
        write_whole(path, (json.dumps(now, indent=2) + "\n").encode())


def differences(before: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    """Values by dotted path that are not the same in two nests of plain data."""
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    return {
        path: (old.get(path), new.get(path))
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    }


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        yield path, node
        return
    for name, value in items:
        yield from _leaves(value, f"{path}.{name}" if path else str(name))
