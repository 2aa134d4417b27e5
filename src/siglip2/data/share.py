"""One rank's part of a global batch, and the random numbers that belong to it.

Random numbers are drawn for the whole batch on every rank, which costs next to nothing, and each rank keeps
those of its own rows. So a run gives the same crops, views and masks on any number of ranks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Rows `first` to `last` of `total`.

    Attributes:
        total: rows of the global batch.
        first: this rank's first row.
        last: the row after its last.
    """

    total: int
    first: int
    last: int

    @classmethod
    def of(cls, total: int, rank: int = 0, world: int = 1) -> "Share":
        """An even part; the first ranks have one row more where it does not divide."""
        small, more = divmod(total, world)
        first = rank * small + min(rank, more)
        return cls(total, first, first + small + (rank < more))

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def rows(self) -> slice:
        """Where the part lies in the batch."""
        return slice(self.first, self.last)

    def rand(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers (rows of this part, *shape)."""
        return torch.rand(self.total, *shape, generator=generator)[self.rows]
