"""Training samples read from WebDataset tars, local or remote, as they are asked for.

Reading goes through the index of megatron-energon. Its own loader keeps an order for each rank and worker and
goes on only with as many of them as before; here the order is the trainer's, a function of seed and step, and
a sample is fetched by its key. So a run may go on with more or fewer ranks and neither loses nor repeats one.
"""

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from siglip2.data.as_asked import PerSample, Pictures
from siglip2.data.captioned import stack_images
from siglip2.data.inspection import Inspection, read_table
from siglip2.data.random_access import RandomAccess
from siglip2.data.sample import Description, describe
from siglip2.data.selection import MOST_BROKEN, Languages, read_keep_weights, select
from siglip2.data.source import Region
from siglip2.errors import InvalidInput

DESCRIPTIONS_KEPT = 8192
"""Captions and boxes that stay in memory; every rank reads the captions of the whole global batch."""


class ShardedImages:
    """A `CaptionedSource` over a folder of shards.

    Attributes:
        name: of the folder.
        samples: what is known of each sample, by index.
        size: pixels a side.
        images: (N, S, S, 3) uint8, indexed by an array.
        captions: texts in the languages that were asked for.
        regions: boxes with phrases.
        classes: (N,) of -1.
        aspects: (N,) width over height of each picture before it was squashed.
    """

    def __init__(
        self,
        folder: Path | str,
        size: int,
        *,
        languages: Languages | None = None,
        keep_weights: Path | None = None,
        most_broken: float = MOST_BROKEN,
        threads: int | None = None,
    ):
        """Open a folder that `siglip2 data prepare` wrote, or `siglip2 data check --index` read.

        Args:
            folder: local, or `msc://PROFILE/PATH`.
            size: pixels a side, to which pictures are squashed.
            languages: of the captions; samples without one of them are passed over.
            keep_weights: Parquet file of `siglip2 data balance`.
            most_broken: share of broken samples above which nothing is trained.
            threads: pictures read and decoded at once; by default as many as there are processors.

        Raises:
            InvalidInput: no table, no index, too many broken samples, or nothing left.
        """
        self.name = str(folder).rstrip("/").rsplit("/", 1)[-1]
        self.size = size
        self.languages = languages or Languages()
        keep = None if keep_weights is None else read_keep_weights(keep_weights)
        self.samples: Sequence[Inspection] = select(
            read_table(folder),
            name=self.name,
            languages=self.languages,
            keep=keep,
            most_broken=most_broken,
        )
        self.classes = np.full(len(self.samples), -1)
        self.aspects = np.array([each.width / each.height for each in self.samples])
        self.images = Pictures(self)
        self.captions = PerSample(self, self.texts)
        self.regions = PerSample(self, self.boxes) if any(each.num_regions for each in self.samples) else ()
        self._folder = folder
        self._own = threading.local()
        self._readers: list[RandomAccess] = []
        self._pool = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1))
        self._describe = lru_cache(maxsize=DESCRIPTIONS_KEPT)(self._read_description)

    def __len__(self) -> int:
        return len(self.samples)

    def description(self, index: int) -> Description:
        """Captions and boxes of a sample."""
        return self._describe(index)

    def pictures(self, indices: np.ndarray) -> np.ndarray:
        """Read and decode: (n,) indices to (n, S, S, 3) uint8."""
        if len(indices) == 0:
            return np.zeros((0, self.size, self.size, 3), np.uint8)
        return np.concatenate(list(self._pool.map(self._picture, indices.tolist())))

    def close(self) -> None:
        """Close the files."""
        self._pool.shutdown()
        for reader in self._readers:
            reader.close()

    def _picture(self, index: int) -> np.ndarray:
        sample = self.samples[index]
        encoded = self._access().read(f"{sample.key}.{sample.image}")
        try:
            return stack_images([encoded], self.size)[0]
        except (OSError, ValueError, SyntaxError) as error:
            raise InvalidInput(
                f"{sample.key} in {sample.shard} of {self._folder} was sound when the shards were checked "
                f"and is not now ({error}); `siglip2 data check --index` checks them again"
            ) from None

    def _read_description(self, index: int) -> Description:
        sample = self.samples[index]
        names = {"json": f"{sample.key}.json", "txt": f"{sample.key}.txt"}
        access = self._access()
        files = {ending: access.read(name) for ending, name in names.items() if access.has(name)}
        try:
            return describe(files)
        except (ValueError, json.JSONDecodeError) as error:
            raise InvalidInput(f"{sample.key} of {self._folder}: {error}") from None

    def _access(self) -> RandomAccess:
        """Each thread has files of its own, since a file has one position."""
        if not hasattr(self._own, "access"):
            self._own.access = RandomAccess(self._folder)
            self._readers.append(self._own.access)
        return self._own.access

    def texts(self, index: int) -> tuple[str, ...]:
        """Captions of a sample in the languages that were asked for."""
        languages = self.samples[index].languages
        captions = self.description(index).captions
        return tuple(
            caption.text
            for caption, language in zip(captions, languages, strict=True)
            if language in self.languages
        )

    def boxes(self, index: int) -> tuple[Region, ...]:
        """Boxes with phrases of a sample."""
        if not self.samples[index].num_regions:
            return ()
        return tuple((each.box, each.phrase) for each in self.description(index).regions)
