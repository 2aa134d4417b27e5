"""Samples made ready while the step before is computed: by a thread, or by several processes.

A processor that trains has no core to spare, and one thread beside it is enough. A GPU is fed by processes:
drawing and tokenizing hold Python's lock, which a thread would take from the one that launches kernels.
"""

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeGuard

import torch
from torch.utils.data import DataLoader, Dataset

from siglip2.data.captioned import CaptionedImages
from siglip2.data.source import CaptionedSource
from siglip2.recipes.recipe import Recipe
from siglip2.train.batches import Drawn, Tokenize, draw_views
from siglip2.train.parallel import Ranks
from siglip2.train.sampling import draw_batch, draw_super_batch

MOST_WORKERS = 12


class Preparation(Dataset[Drawn]):
    """What each step sees, by its number: it follows from the seed and the step alone."""

    def __init__(
        self,
        recipe: Recipe,
        data: Sequence[CaptionedSource],
        tokenize: Tokenize,
        rank: int,
        world: int,
        *,
        pictures: bool = True,
    ):
        """Of one rank's part.

        Args:
            recipe: of the run.
            data: one data set for each of its sources.
            tokenize: texts to (T, L) ids.
            rank: whose part.
            world: number of ranks.
            pictures: False where they are looked up later, by their rows.
        """
        self.recipe, self.data, self.tokenize, self.pictures = recipe, data, tokenize, pictures
        self.place = {"rank": rank, "world": world}

    def __getitem__(self, step: int) -> Drawn:
        """Samples of a step; with curation, of several steps at once."""
        recipe = self.recipe
        stage = recipe.stages[recipe.stage_at(step)]
        place = {"seed": recipe.seed, "step": step, **self.place, "pictures": self.pictures}
        if stage.curation is None:
            batch = draw_batch(recipe.sources, self.data, **place)
        else:
            parts = round(1 / (1 - stage.curation.filter_ratio))
            batch = draw_super_batch(recipe.sources, self.data, parts=parts, **place)
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        return draw_views(batch, recipe, stage, self.tokenize, generator, **self.place)


def from_memory_to_gpu(data: Sequence[CaptionedSource], ranks: Ranks) -> TypeGuard[Sequence[CaptionedImages]]:
    """Whether a GPU trains on pictures that are all in memory."""
    return ranks.device.startswith("cuda") and all(isinstance(each, CaptionedImages) for each in data)


def workers_for(data: Sequence[CaptionedSource], ranks: Ranks) -> int:
    """Processes that make samples ready: none beside a processor that trains, most cores beside a GPU.

    Shards are read by threads of their own, which a process begun as a copy would lack.
    """
    if not from_memory_to_gpu(data, ranks):
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // here - 1))


def prepare_ahead(preparation: Preparation, steps: range, workers: int) -> Generator[Drawn, None, None]:
    """The samples of each step, in order.

    Args:
        preparation: makes them.
        steps: which.
        workers: processes that do; 0 for one thread.
    """
    if not workers:
        yield from _by_a_thread(preparation, steps)
        return
    yield from DataLoader(
        preparation,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_alone,
        generator=torch.Generator(),  # seeds its processes, which draw from generators of their own
        multiprocessing_context="fork",  # the pictures in memory are shared, not copied
    )


def _by_a_thread(preparation: Preparation, steps: range) -> Iterator[Drawn]:
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(preparation.__getitem__, steps[0]) if steps else None
        for step in steps:
            assert following is not None
            drawn = following.result()
            following = thread.submit(preparation.__getitem__, step + 1) if step + 1 in steps else None
            yield drawn


def _as_it_is(drawn: Any) -> Any:
    return drawn


def _alone(_: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the run's own handler waits for the end of a step
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the run still needs these
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
