"""Results of a task: one JSON file, and beside it the cases that paired tests need."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.intervals import Measure

logger = logging.getLogger(__name__)

RESULT_SUFFIX = ".json"
CASES_SUFFIX = ".cases.npz"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A picture for the report: a success, a failure, or a picture with its heat map.

    Attributes:
        kind: `success`, `failure` or `heat map`.
        caption: what was right and what the model said.
        image: a small JPEG.
    """

    kind: str
    caption: str
    image: bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task found.

    Attributes:
        measures: by name; the first one is the main one.
        sizes: how many images, texts, classes took part.
        chance: of the main measure for a model that knows nothing; None where that has no meaning.
        settings: what else decides the numbers: split, prompts, seeds.
        details: tables for the report, such as accuracy per class.
        examples: pictures for the report.
    """

    measures: dict[str, Measure]
    sizes: dict[str, int]
    chance: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()


def write_result(folder: Path, task: str, outcome: Outcome, circumstances: dict[str, Any]) -> Path:
    """Write `TASK.json`, `TASK.cases.npz` and the example pictures into a folder; the JSON file last, whole.

    Args:
        folder: of the model's results.
        task: its name.
        outcome: what it found.
        circumstances: model, versions, protocol, time and whatever else the runner knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases: dict[str, np.ndarray] = {}
    for name, measure in outcome.measures.items():
        if measure.cases is not None:
            cases[name] = np.asarray(measure.cases, np.float32)
            if measure.groups is not None:
                cases[f"{name}|groups"] = np.asarray(measure.groups)
            if measure.kinds is not None:
                cases[f"{name}|kinds"] = np.asarray(measure.kinds)
        elif measure.resamples is not None:
            cases[f"{name}|resamples"] = np.asarray(measure.resamples, np.float32)
    if cases:
        np.savez_compressed(folder / f"{task}{CASES_SUFFIX}", allow_pickle=False, **cases)
    pictures = []
    for index, example in enumerate(outcome.examples):
        (folder / "examples").mkdir(exist_ok=True)
        path = folder / "examples" / f"{task}-{index}.jpg"
        path.write_bytes(example.image)
        pictures.append(
            {"kind": example.kind, "caption": example.caption, "file": str(path.relative_to(folder))}
        )
    content = {
        "task": task,
        **circumstances,
        "sizes": outcome.sizes,
        "chance": outcome.chance,
        "settings": outcome.settings,
        "measures": {name: _plain(measure) for name, measure in outcome.measures.items()},
        "details": outcome.details,
        "examples": pictures,
    }
    path = folder / f"{task}{RESULT_SUFFIX}"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, path)
    return path


def read_result(path: Path) -> dict[str, Any] | None:
    """A result file; None where it is none, with a warning where nothing can be read from it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        logger.warning("%s is passed over, it cannot be read as a result: %s", path, error)
        return None
    return content if isinstance(content, dict) and content.keys() >= _EXPECTED else None


_EXPECTED = {"task", "title", "main", "identity", "sizes", "measures"}


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """All results in a folder, by task.

    Raises:
        InvalidInput: the folder holds none.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(f"*{RESULT_SUFFIX}")):
        content = read_result(path)
        if content is not None:
            found[content["task"]] = content
    if not found:
        raise InvalidInput(f"{folder} holds no results: `siglip2 eval MODEL --output FOLDER` writes them")
    return found


def results_folder(output: Path, name: str, weights: str) -> Path:
    """Where a model's results go: a folder of its name, unless one of other weights has results there.

    Args:
        output: the folder of all results.
        name: of the model; models may share it, as those of `siglip2 train` do, which all lie in a `model`.
        weights: fingerprint of the model's weights, whose start then tells it apart.
    """
    folder, own = output / name, output / f"{name}-{weights[:8]}"
    try:
        results = read_results(folder).values()
    except InvalidInput:
        results = ()
    taken = any(each.get("weights", weights) != weights for each in results)
    return own if taken or own.is_dir() else folder


def model_names(folders: Sequence[Path]) -> list[str]:
    """What to call the models of folders of results: as few last parts of the paths as tell them apart."""
    paths = [folder.resolve() for folder in folders]
    names: list[str] = []
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return names


def read_cases(folder: Path, task: str) -> dict[str, np.ndarray]:
    """The cases behind a task's measures, empty where there are none."""
    path = folder / f"{task}{CASES_SUFFIX}"
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _plain(measure: Measure) -> dict[str, Any]:
    content = asdict(measure)
    return {name: content[name] for name in ("value", "low", "high", "count", "method")}
