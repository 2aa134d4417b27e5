"""Pictures of small data sets on the GPU: a batch is looked up there in place of being sent there."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from siglip2.data.captioned import CaptionedImages
from siglip2.data.source import CaptionedSource
from siglip2.train.ahead import from_memory_to_gpu
from siglip2.train.batches import Drawn
from siglip2.train.parallel import Ranks

SHARE = 0.25
"""Of the GPU's free memory that pictures may take; the rest is for training."""


class ResidentPictures:
    """The pictures of every source of a run, on its device."""

    def __init__(self, data: Sequence[CaptionedImages], device: str):
        """Send them.

        Args:
            data: the sources.
            device: where to.
        """
        self.tables = [torch.from_numpy(each.images).to(device) for each in data]

    @classmethod
    def where_they_fit(cls, data: Sequence[CaptionedSource], ranks: Ranks) -> "ResidentPictures | None":
        """On a GPU whose memory has room for all, if they are in memory at all; else None."""
        if not from_memory_to_gpu(data, ranks):
            return None
        free, _ = torch.cuda.mem_get_info(ranks.device)
        fits = sum(each.images.nbytes for each in data) <= SHARE * free
        return cls(data, ranks.device) if fits else None

    def look_up(self, drawn: Drawn) -> Drawn:
        """Samples of a step with their pictures.

        Args:
            drawn: with rows of the sources in place of them.
        """
        pairs = zip(self.tables, drawn.rows, strict=True)
        return replace(
            drawn, pictures=[table[rows.to(table.device, non_blocking=True)] for table, rows in pairs]
        )
