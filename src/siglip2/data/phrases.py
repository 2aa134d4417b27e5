"""What a detector is asked to find in a picture: parts of its captions, and categories.

The paper pairs boxes with n-grams of the alt-text and with a fixed list of categories (section 2.2, after
OWL-ST). The paper does not say: how long n-grams are, which are left out, and what is in the list.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from siglip2.errors import InvalidInput

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """English words that no phrase begins or ends with, since there is nothing to be seen."""
    listed = files("siglip2.data") / "word_lists" / "stop_words.json"
    return frozenset(json.loads(listed.read_text(encoding="utf-8")))


def caption_phrases(captions: Iterable[str], *, longest: int = 4, most: int = 64) -> list[str]:
    """N-grams of captions, each once, in the order of the captions, shorter ones first in each.

    An n-gram stays within a clause and neither begins nor ends with a stop word.

    Args:
        captions: of one picture.
        longest: number of words.
        most: n-grams that are returned.
    """
    found: dict[str, None] = {}
    stop = stop_words()
    for caption in captions:
        clauses = [WORD.findall(clause.lower()) for clause in re.split(r"[.,;:!?()\n\"]+", caption)]
        for length in range(1, longest + 1):
            for words in clauses:
                for first in range(len(words) - length + 1):
                    ngram = words[first : first + length]
                    if ngram[0] not in stop and ngram[-1] not in stop:
                        found[" ".join(ngram)] = None
    return list(found)[:most]


def read_categories(path: Path | None = None) -> list[str]:
    """Categories, one a line or as a JSON list; without a file, 166 common things in English.

    Raises:
        InvalidInput: the file is not there or holds none.
    """
    found = path or files("siglip2.data") / "word_lists" / "categories.json"
    try:
        content = found.read_text(encoding="utf-8")
        listed = json.loads(content) if content.lstrip().startswith("[") else content.splitlines()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no list of categories: {error}") from None
    categories = [str(each).strip() for each in listed if str(each).strip()]
    if not categories:
        raise InvalidInput(f"{path} holds no categories")
    return categories


def in_groups(phrases: Sequence[str], size: int) -> list[Sequence[str]]:
    """As many at once as a detector takes."""
    return [phrases[first : first + size] for first in range(0, len(phrases), size)]
