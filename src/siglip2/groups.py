"""Positions that belong together, found pair by pair."""

from collections.abc import Iterator, Sequence

import numpy as np


class Groups:
    """Disjoint sets of positions, joined by many pairs at once: where all are alike, any two are a pair."""

    def __init__(self, count: int):
        # Of each position the least one of its group, between the joins.
        self._least = np.arange(count)

    def join(self, ones: np.ndarray, others: np.ndarray) -> None:
        """Put the two positions of each pair into one group: (P,) and (P,) whole numbers."""
        while True:
            first, second = self._least[ones], self._least[others]
            apart = first != second
            if not apart.any():
                return
            ones, others, first, second = ones[apart], others[apart], first[apart], second[apart]
            np.minimum.at(self._least, np.maximum(first, second), np.minimum(first, second))
            while not np.array_equal(below := self._least[self._least], self._least):
                self._least = below

    def join_all(self, groups: Sequence[Sequence[int]]) -> None:
        """Put the members of each group into one."""
        if groups:
            firsts = np.repeat([members[0] for members in groups], [len(members) for members in groups])
            self.join(firsts, np.concatenate([np.asarray(members) for members in groups]))

    def members(self) -> Iterator[np.ndarray]:
        """Positions of each group of two or more, in order of their first."""
        order = np.argsort(self._least, kind="stable")
        starts = np.flatnonzero(np.diff(self._least[order], prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            if end - start > 1:
                yield order[start:end]
