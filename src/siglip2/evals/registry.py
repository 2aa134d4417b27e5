"""Every task by name, in the order in which they are listed."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache

from siglip2.errors import InvalidInput
from siglip2.evals import catalogue, catalogue_dense, catalogue_places
from siglip2.evals.task import Task

SETS = {
    "paper": (
        "imagenet imagenet_v2 imagenet_real objectnet imagenet_10shot coco flickr30k xm3600 pascal ade20k "
        "nyuv2_depth nyuv2_normals navi_depth navi_normals refcoco textcaps hiertext scicap "
        "screen2words dollar_street dollar_street_10shot geode geode_country_10shot geode_region_10shot "
        "gldv2 representation_bias"
    ),
    "small": (
        "tiny_imagenet tiny_imagenet_10shot tiny_imagenet_linear babel_tiny_imagenet flickr8k coco_mini "
        "camvid camvid_dpt camvid_open_vocabulary coco_mini_masks depth_rgbd normals_rgbd "
        "coco_mini_expressions coco_mini_pointing coco_mini_counting coco_mini_relations "
        "tiny_imagenet_representation_bias flickr8k_gender"
    ),
}
"""`paper`: what its tables hold and this project measures; `small`: runs in minutes on a processor."""


@cache
def all_tasks() -> dict[str, Task]:
    """Every task, by name."""
    tasks: list[Task] = [
        *catalogue.imagenet_family(),
        *catalogue.clip_family(),
        *catalogue.retrieval(),
        *catalogue_dense.dense(),
        *catalogue_places.places(),
        *catalogue_places.own(),
    ]
    return {task.name: task for task in tasks}


def choose_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks of the names and sets given, each once.

    Raises:
        InvalidInput: a name that is neither.
    """
    known = all_tasks()
    chosen: dict[str, Task] = {}
    for name in names:
        for each in SETS[name].split() if name in SETS else [name]:
            if each not in known:
                close = get_close_matches(each, [*known, *SETS], n=1)
                hint = f", did you mean {close[0]}?" if close else ""
                raise InvalidInput(f"there is no task {each!r}{hint}; `siglip2 eval list` shows all")
            chosen[each] = known[each]
    return list(chosen.values())
