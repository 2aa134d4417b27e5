"""A query of several terms, and how rows are scored by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Term:
    """A phrase or an example.

    Attributes:
        vector: (E,) of unit length.
        weight: how much it counts beside the others.
        is_text: phrase or example.
    """

    vector: np.ndarray
    weight: float
    is_text: bool


class Query:
    """Wanted and unwanted terms.

    A single wanted term orders rows by their cosine, as the model does. In a mixture a term counts in units
    of its own spread over the rows of the kind that is looked for, because cosines of photo and photo lie
    several times as far apart as those of text and photo, and would drown them. Unwanted terms are a penalty
    where they fit better than for the average row, and no bonus elsewhere; subtracting their vectors would
    turn the query away from what is wanted.
    """

    def __init__(
        self, wanted: Sequence[Term], unwanted: Sequence[Term], make_sample: Callable[[], np.ndarray]
    ):
        """Take the terms' spread from a sample (S, E) of the collection; a single term does without."""
        self.wanted, self.unwanted = wanted, unwanted
        self.vector = wanted[0].vector
        self.is_single = len(wanted) == 1 and not unwanted
        if self.is_single:
            return
        sample = make_sample()
        self._wanted = [(term, *_spread(sample @ term.vector)) for term in wanted]
        self._unwanted = [(term, *_spread(sample @ term.vector)) for term in unwanted]
        if len(wanted) > 1:
            mixed = np.sum([term.weight / spread * term.vector for term, _, spread in self._wanted], axis=0)
            # Not normalised by 1e-8 as embeddings are: only its direction matters to an index.
            self.vector = (mixed / max(float(np.linalg.norm(mixed)), 1e-12)).astype(np.float32)

    @property
    def judged(self) -> Term | None:
        """What probabilities are given for: the phrase, else the example; None where there are several."""
        terms = [term for term in self.wanted if term.is_text] or self.wanted
        return terms[0] if len(terms) == 1 else None

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Scores (N,) of vectors (N, E)."""
        if self.is_single:
            return vectors @ self.vector
        total = np.zeros(len(vectors), np.float32)
        for term, mean, spread in self._wanted:
            total += term.weight * (vectors @ term.vector - mean) / spread
        for term, mean, spread in self._unwanted:
            total -= term.weight * np.maximum((vectors @ term.vector - mean) / spread, 0)
        return total


def _spread(cosines: np.ndarray) -> tuple[float, float]:
    if len(cosines) == 0:
        return 0.0, 1.0
    return float(cosines.mean()), max(float(cosines.std()), 1e-6)


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` highest scores, best first; of equal ones the earlier row first."""
    if count < len(scores):
        # Everything that ties with the last one takes part, so that ties are cut by position, not by chance.
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        candidates = np.flatnonzero(scores >= threshold)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:count]
