"""Classes of a data set brought into the order in which a task names them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from siglip2.errors import InvalidInput
from siglip2.evals.formats.labelled import LabelledImages

_REMEDY = "put a classnames.txt, one name a line in the order of the labels, beside the data"


def in_order(
    labelled: LabelledImages, names: Sequence[str], keys: Sequence[str], title: str
) -> LabelledImages:
    """Count the classes as the task's names do, and give them these names.

    The order of folders tells nothing, since some of them may be missing and publishers number their classes
    otherwise: folders are found by what they are called. Labels of tars and Parquet are the publisher's
    numbers, which are kept unless Parquet's own names are all known. Names of a file beside the data stay.

    Args:
        labelled: as it was read.
        names: N names of the task, in the publisher's order.
        keys: N folder names, in the same order.
        title: of the task, for messages.

    Returns:
        Labels among the N classes: (B,), or (B, N) where several classes may hold.

    Raises:
        InvalidInput: classes that cannot be told from each other, or more or fewer than the task has.
    """
    if labelled.class_names_from_file:
        return labelled
    numbered = all(key.isdecimal() for key in labelled.class_keys)
    called = labelled.class_names if numbered else labelled.class_keys
    places = _find(called, names, keys)
    unknown = [name for name, place in zip(called, places, strict=True) if place is None]
    if not numbered and unknown:
        raise InvalidInput(
            f"{title}: {len(unknown)} of {len(called)} folders are called as no class is, such as "
            f"{', '.join(unknown[:3])}; call them as the publisher does, or {_REMEDY}"
        )
    if unknown:
        same = sum(place == index for index, place in enumerate(places))
        if sum(place is not None for place in places) > 2 * same:
            raise InvalidInput(f"{title}: the data name their classes in another order; {_REMEDY}")
        places = _as_numbered(labelled.class_keys, len(names), title)
    if len(set(places)) < len(places):
        raise InvalidInput(f"{title}: two classes of the data have one name; {_REMEDY}")
    return replace(
        labelled,
        labels=_moved(labelled.labels, np.array(places), len(names)),
        class_names=tuple(names),
        class_keys=tuple(keys),
    )


def _find(called: Sequence[str], names: Sequence[str], keys: Sequence[str]) -> list[int | None]:
    """Place of each class among the task's; None where it is called as none of them is."""
    known: dict[str, int] = {}
    for listed in (keys, names):
        for place, name in enumerate(listed):
            known.setdefault(_plain(name), place)
    return [
        # ImageNet has two classes of one name: the one at hand is meant.
        place if place < len(names) and _plain(name) == _plain(names[place]) else known.get(_plain(name))
        for place, name in enumerate(called)
    ]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _as_numbered(keys: Sequence[str], count: int, title: str) -> list[int]:
    numbers = list(range(len(keys)))
    # Fewer are as good where they begin with 0: the last classes have no image then.
    if len(keys) != count and (len(keys) > count or [int(key) for key in keys] != numbers):
        raise InvalidInput(f"{title}: the data have {len(keys)} classes, {count} are known; {_REMEDY}")
    return numbers


def _moved(labels: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    if labels.ndim == 1:
        return places[labels]
    moved = np.zeros((len(labels), count), bool)
    moved[:, places] = labels
    return moved
