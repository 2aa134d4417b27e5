"""What captions say about people: sensitive attributes and labels, by lists of words or from a table."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from siglip2.data.check import find_tars
from siglip2.data.raw_sources import read_rows
from siglip2.data.sample import describe
from siglip2.data.shards import read_shard
from siglip2.errors import InvalidInput

UNKNOWN = -1
"""Code of a sample whose captions name no value of an attribute, or several."""

WORD = re.compile(r"[\w']+")


@dataclass(frozen=True)
class Attribute:
    """A sensitive attribute.

    Attributes:
        name: such as `gender`.
        values: its values.
        codes: (N,) which value each sample has; -1 where unknown.
    """

    name: str
    values: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class Traits:
    """Attributes and labels of samples.

    Attributes:
        keys: of the N samples.
        attributes: sensitive ones.
        labels: (N,) bool for each name; an attribute is not to go along with them.
    """

    keys: Sequence[str]
    attributes: tuple[Attribute, ...]
    labels: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class WordLists:
    """Which words say what.

    Attributes:
        attributes: for each attribute the words of each of its values.
        labels: words of each label.
    """

    attributes: Mapping[str, Mapping[str, Sequence[str]]]
    labels: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, path: Path | None = None) -> "WordLists":
        """Read a JSON file; without one, the package's list of English words for gender and occupations.

        Raises:
            InvalidInput: the file has another form.
        """
        found = path or files("siglip2.data") / "word_lists" / "english.json"
        try:
            content = json.loads(found.read_text(encoding="utf-8"))
            lists = cls(content["attributes"], content["labels"])
            words = [
                word for values in lists.attributes.values() for each in values.values() for word in each
            ]
            words += [word for each in lists.labels.values() for word in each]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{path} is no list of words ({error!r}); expected attributes, such "
                'as {"gender": {"male": ["man"], "female": ["woman"]}}, and labels, as {"nurse": ["nurse"]}'
            ) from None
        if not all(isinstance(word, str) and WORD.fullmatch(word) for word in words):
            raise InvalidInput(f"{path}: words are single, such as `man`, without spaces")
        return lists

    @cached_property
    def _attribute_of_word(self) -> dict[str, set[tuple[str, str]]]:
        found: dict[str, set[tuple[str, str]]] = {}
        for name, values in self.attributes.items():
            for value, words in values.items():
                for word in words:
                    found.setdefault(word.casefold(), set()).add((name, value))
        return found

    @cached_property
    def _label_of_word(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for label, words in self.labels.items():
            for word in words:
                found.setdefault(word.casefold(), set()).add(label)
        return found

    def find(self, texts: Iterable[str]) -> tuple[set[tuple[str, str]], set[str]]:
        """Attributes with their values, and labels, that the words of the texts name."""
        words = {word for text in texts for word in WORD.findall(text.casefold())}
        attributes = (self._attribute_of_word.get(word, set()) for word in words)
        labels = (self._label_of_word.get(word, set()) for word in words)
        return set().union(*attributes), set().union(*labels)


def traits_of_captions(keys: Sequence[str], captions: Iterable[Iterable[str]], lists: WordLists) -> Traits:
    """Search all captions of each sample for the words of the lists."""
    found = [lists.find(texts) for texts in captions]
    attributes = []
    for name, values in lists.attributes.items():
        order = tuple(values)
        codes = np.full(len(keys), UNKNOWN)
        for index, (said, _) in enumerate(found):
            own = [value for attribute, value in said if attribute == name]
            if len(own) == 1:
                codes[index] = order.index(own[0])
        attributes.append(Attribute(name, order, codes))
    labels = {
        label: np.array([label in said for _, said in found], dtype=bool).reshape(-1)
        for label in lists.labels
    }
    return Traits(keys, tuple(attributes), labels)


def traits_of_shards(folder: Path, lists: WordLists) -> Traits:
    """Search the captions of a folder of shards; samples without usable captions have no traits."""
    keys, captions = [], []
    for path in find_tars(folder):
        for sample in read_shard(path):
            keys.append(sample.key)
            try:
                captions.append([each.text for each in describe(sample.files).captions])
            except ValueError:
                captions.append([])
    return traits_of_captions(keys, captions, lists)


def traits_of_table(path: Path) -> Traits:
    """Traits that somebody else determined.

    Args:
        path: .csv, .jsonl or .parquet with the columns `key`, `attribute.NAME` (a value, empty where it is
            unknown) and `label.NAME` (0 or 1, true or false).

    Raises:
        InvalidInput: the columns are others, a row has no key, or a label is something else.
    """
    rows: list[Mapping[str, Any]] = list(read_rows(path))
    names = list(rows[0]) if rows else []
    attributes = [name for name in names if name.startswith("attribute.")]
    labels = [name for name in names if name.startswith("label.")]
    if "key" not in names or not attributes:
        raise InvalidInput(
            f"{path} has the columns {', '.join(names)}; expected key, attribute.NAME and label.NAME"
        )
    for number, row in enumerate(rows, 1):
        if row.get("key") in (None, ""):
            raise InvalidInput(f"{path}, row {number} has no key")
    return Traits(
        [str(row["key"]) for row in rows],
        tuple(_attribute(name, [row.get(name) for row in rows]) for name in attributes),
        {
            name.removeprefix("label."): np.array(
                [_label(row.get(name), f"{path}, row {number}, {name}") for number, row in enumerate(rows, 1)]
            )
            for name in labels
        },
    )


def _label(cell: Any, where: str) -> bool:
    """Whatever wrote the table: pandas writes 1 as 1.0 beside empty cells, spreadsheets write TRUE."""
    text = str(cell).strip().lower()
    if text in ("true", "false"):
        return text == "true"
    try:
        return {0.0: False, 1.0: True}[float(text)]
    except (ValueError, KeyError):
        said = "nothing" if cell in (None, "") else repr(cell)
        raise InvalidInput(f"{where} is {said}; expected 0 or 1, true or false") from None


def _attribute(column: str, cells: Sequence[Any]) -> Attribute:
    texts = ["" if cell is None else str(cell) for cell in cells]
    values = tuple(sorted(set(texts) - {""}))
    codes = np.array([values.index(text) if text else UNKNOWN for text in texts])
    return Attribute(column.removeprefix("attribute."), values, codes)
