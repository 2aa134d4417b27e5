"""Class names and prompt templates that evaluations share: ImageNet's, and those of CLIP's data sets."""

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def imagenet() -> dict[str, list[Any]]:
    """ImageNet: `wnids` and `names` of the 1,000 classes, `imagenet_a` and `imagenet_r`, indices of subsets.

    The names are CLIP's, cut at the first comma as big_vision does (`first_class_name_only`).
    """
    content = _read("imagenet_classes.json")
    return {**content, "names": [name.split(",")[0] for name in content["names"]]}


def imagenet_name(wnid: str) -> str | None:
    """Name of a WordNet id, None where it is no ImageNet class."""
    return dict(zip(imagenet()["wnids"], imagenet()["names"], strict=True)).get(wnid)


@cache
def clip_data_sets() -> dict[str, dict[str, Any]]:
    """CLIP's data sets by folder name: `title`, `class_names`, `templates`, and `folders` of classes.

    Classes stand in the order of the labels of the hub's `clip-benchmark/wds_*`, where CLIP's own list
    (`data/prompts.md` of github.com/openai/CLIP) has another for six of the sets.
    """
    return {name: entry for name, entry in _read("clip_data_sets.json").items() if name != "source"}


def clip_class_names(data_set: str) -> tuple[str, ...]:
    """Names of the classes of one of CLIP's data sets; of synonyms the first."""
    names = clip_data_sets()[data_set]["class_names"]
    return tuple(name if isinstance(name, str) else name[0] for name in names)


def clip_class_keys(data_set: str) -> tuple[str, ...]:
    """What the publisher calls the folders of these classes."""
    folders = clip_data_sets()[data_set].get("folders", {})
    return tuple(folders.get(name, name) for name in clip_class_names(data_set))


def _read(name: str) -> dict[str, Any]:
    return json.loads((resources.files("siglip2") / "assets" / name).read_text(encoding="utf-8"))
