"""Embeddings of texts, remembered within a bound: labels come again and again."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np


class TextCache:
    """The most recent texts' vectors, as rows of one matrix, so that a thousand are gathered at once."""

    def __init__(self, size: int, width: int):
        """Make an empty cache.

        Args:
            size: texts that are kept; 0 keeps none.
            width: E of a vector. The matrix takes memory as its rows are filled.
        """
        self._vectors = np.empty((size, width), np.float32)
        self._tokens = np.zeros(size, np.int64)
        self._rows: OrderedDict[str, int] = OrderedDict()
        self._size = size

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, text: str) -> tuple[np.ndarray, int] | None:
        """A copy of the vector (E,) and the number of tokens of one text, or None."""
        row = self._rows.get(text)
        if row is None:
            return None
        self._rows.move_to_end(text)
        return self._vectors[row].copy(), int(self._tokens[row])

    def gather(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Vectors (T, E) and numbers of tokens (T,), copies; None unless all texts are here."""
        rows = self._rows
        try:
            found = [rows[text] for text in texts]
        except KeyError:
            return None
        for text in texts:
            rows.move_to_end(text)
        return self._vectors[found], self._tokens[found]

    def put(self, text: str, vector: np.ndarray, tokens: int) -> None:
        """Remember a text; the one that was not asked for longest goes, if there are too many."""
        if not self._size:
            return
        row = self._rows.pop(text, None)
        if row is None:
            row = len(self._rows) if len(self._rows) < self._size else self._rows.popitem(last=False)[1]
        self._rows[text] = row
        self._vectors[row], self._tokens[row] = vector, tokens
