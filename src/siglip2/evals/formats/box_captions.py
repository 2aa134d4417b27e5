"""Captions made by rule from the boxes of COCO pictures: how many there are, and what is where.

No person wrote them, and the boxes leave some objects out: for comparing models, not for quoting.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from siglip2.evals.formats.shards import Sample
from siglip2.evals.images import ImageFile

NUMBERS = ("one", "two", "three", "four", "five")

SMALLEST = 0.01
"""Share of the picture that a box must cover; smaller things are often left out of the boxes."""

_PLURALS = {
    "person": "people", "knife": "knives", "mouse": "mice", "sheep": "sheep", "bus": "buses",
    "bench": "benches", "wine glass": "wine glasses", "couch": "couches", "sandwich": "sandwiches",
    "toothbrush": "toothbrushes", "skis": None, "scissors": None,
}  # fmt: skip
"""Where an s is not enough; None for words that have no singular."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A picture with a caption that holds and others that do not.

    Attributes:
        image: the picture.
        right: the caption that holds.
        wrong: the others.
        kind: of the case, for the report.
    """

    image: ImageFile
    right: str
    wrong: tuple[str, ...]
    kind: str


def counting_captions(samples: Iterable[Sample]) -> Iterator[Choice]:
    """One to five things of a category, against the other four numbers."""
    for sample in samples:
        for name, boxes in _objects(sample).items():
            if len(boxes) > len(NUMBERS) or any(_area(box) < SMALLEST for box in boxes):
                continue
            plural = _PLURALS.get(name, f"{name}s")
            texts = [f"{number} {name if number == 'one' else plural}" for number in NUMBERS]
            right = texts.pop(len(boxes) - 1)
            kind = NUMBERS[len(boxes) - 1]
            yield Choice(image=sample.image, right=right, wrong=tuple(texts), kind=kind)


def relation_captions(samples: Iterable[Sample]) -> Iterator[Choice]:
    """Two things that are there once each, beside or above one another, against the opposite."""
    for sample in samples:
        single = {name: boxes[0] for name, boxes in _objects(sample).items() if len(boxes) == 1}
        large = sorted(name for name, box in single.items() if _area(box) >= SMALLEST)
        for first, second in combinations(large, 2):
            kind = _relation(single[first], single[second])
            if kind is not None:
                captions = {each: f"{_article(first)} {each} {_article(second)}" for each in _OPPOSITE}
                wrong = (captions[_OPPOSITE[kind]],)
                yield Choice(image=sample.image, right=captions[kind], wrong=wrong, kind=kind)


_OPPOSITE = {
    "to the left of": "to the right of", "to the right of": "to the left of",
    "above": "below", "below": "above",
}  # fmt: skip


def _relation(first: Box, second: Box) -> str | None:
    """How the first box lies to the second where they are apart along one side alone."""
    apart = [_apart(first[i], first[i + 2], second[i], second[i + 2]) for i in (0, 1)]
    if (apart[0] == 0) == (apart[1] == 0):
        return None
    if apart[0]:
        return "to the left of" if apart[0] < 0 else "to the right of"
    return "above" if apart[1] < 0 else "below"


def _apart(low: float, high: float, other_low: float, other_high: float) -> int:
    """-1 if the first stretch ends before the second begins, 1 the other way round, 0 if they overlap."""
    return -1 if high <= other_low else int(low >= other_high)


def _objects(sample: Sample) -> dict[str, list[Box]]:
    """Boxes of each category as x0, y0, x1, y1 in shares of the picture; crowds and pairs left out."""
    content = sample.json()
    width, height = content["wh"]
    found: dict[str, list[Box]] = defaultdict(list)
    crowded = set()
    for entry in content.get("objects", []):
        x, y, w, h = entry["box_xywh"]
        found[entry["name"]].append((x / width, y / height, (x + w) / width, (y + h) / height))
        if entry.get("crowd"):
            crowded.add(entry["name"])
    return {n: boxes for n, boxes in found.items() if n not in crowded and _PLURALS.get(n, n) is not None}


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
