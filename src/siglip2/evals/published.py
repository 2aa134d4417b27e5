"""The figures that the paper prints for its checkpoints (arXiv 2502.14786, Tables 1, 2, 5, 7, 8 and 9)."""

import json
from functools import cache
from importlib import resources

NO_SHARES = ("rmse", "angular_rmse")
"""Measures that the paper gives in metres and degrees; every other one is in percent."""


def published_value(model: str, task: str, measure: str, max_num_patches: int | None = None) -> float | None:
    """What the paper says, as a share where it prints percent; None where it says nothing.

    Args:
        model: hub id or name of a published checkpoint.
        task: name of the task.
        measure: name of the measure.
        max_num_patches: NaFlex only, token budget; 256 where none is given.
    """
    name = model.rsplit("/", 1)[-1].removeprefix("siglip2-")
    if name.endswith("naflex"):
        name = f"{name}@{max_num_patches or 256}"
    figure = published_figures().get(name, {}).get(f"{task}:{measure}")
    if figure is None:
        return None
    return figure if measure in NO_SHARES else figure / 100


@cache
def published_figures() -> dict[str, dict[str, float]]:
    """All figures, by checkpoint and by `task:measure`; NaFlex ones carry their token budget after @."""
    file = resources.files("siglip2") / "assets" / "published_figures.json"
    return json.loads(file.read_text(encoding="utf-8"))["figures"]
