"""Dynamic batching: items of many requests run together, and none waits longer than a budget."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from siglip2.serve.timings import record

Item = TypeVar("Item")
Result = TypeVar("Result")
_Given = TypeVar("_Given", contravariant=True)
_Made = TypeVar("_Made", covariant=True)


class Tower(Protocol[_Given, _Made]):
    """What an engine needs of a tower, wherever it runs; see `Batcher`."""

    batches: int
    items: int
    in_trouble: bool

    @property
    def alive(self) -> bool:
        """Whether it takes items."""
        ...

    @property
    def running_seconds(self) -> float:
        """How long the present batch has been running."""
        ...

    @property
    def num_waiting(self) -> int:
        """Items that have no result yet."""
        ...

    def start(self) -> None:
        """Begin to take items."""
        ...

    async def stop(self) -> None:
        """End."""
        ...

    async def submit(self, items: Sequence[_Given]) -> Sequence[_Made]:
        """Results of the items, in their order."""
        ...


@dataclass(kw_only=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    future: "asyncio.Future[tuple[Result, float, float]]"
    since: float = field(default_factory=perf_counter)


def running_mean(before: float, value: float) -> float:
    """Moved a tenth of the way to a new value; the value itself where there was none (0) before."""
    return before + 0.1 * (value - before) if before else value


class Batcher(Generic[Item, Result]):
    """A queue before one tower, and one thread that runs the tower.

    An idle tower waits `max_wait` for company, a busy one takes what has come meanwhile. Items whose caller
    has left are dropped before they run. If a batch fails, its items run one by one, so that only the
    culprit's request fails. How much may wait is decided at the door, by `Engine`.

    Attributes:
        batches: that have run.
        items: in them.
        in_trouble: whether the last batch failed.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        name: str,
        max_batch: int,
        max_wait: float,
        size_of: Callable[[Item], int] = lambda item: 1,
        max_size: int | None = None,
        max_seconds: float | None = None,
    ):
        """Make a batcher; `start` it inside the event loop.

        Args:
            run: one batch, in the thread; as many results as items.
            name: of the thread.
            max_batch: items per batch.
            max_wait: seconds from the first item's arrival.
            size_of: length of an item, to which its batch is padded.
            max_size: the most items times longest length, however few the items are; one item always runs.
            max_seconds: that a batch should take, by what items took lately; one item always runs.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._size_of = size_of
        self._max_size = max_size
        self._max_seconds = max_seconds
        self._seconds_per_item = 0.0
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"siglip2-{name}")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        self.items = 0
        self.in_trouble = False
        self._since: float | None = None

    def start(self) -> None:
        """Begin to take items."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End; whoever still waits gets a cancellation."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._queue:
            waiting.future.cancel()
        self._thread.shutdown(wait=True)

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._task is not None and not self._task.done()

    @property
    def running_seconds(self) -> float:
        """How long the present batch has been running; 0 when idle."""
        return 0.0 if self._since is None else perf_counter() - self._since

    @property
    def num_waiting(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Results of the items, in their order. Cancelling drops what has not run."""
        loop = asyncio.get_running_loop()
        own = [
            _Waiting[Item, Result](item=item, size=self._size_of(item), future=loop.create_future())
            for item in items
        ]
        self._queue.extend(own)
        self._arrived.set()
        try:
            done = await asyncio.gather(*(waiting.future for waiting in own))
        finally:
            for waiting in own:
                waiting.future.cancel()
        for _, queued, ran in done:
            record("queue", queued)
            record("infer", ran)
        return [result for result, _, _ in done]

    @property
    def _most_items(self) -> int:
        """Of a batch now."""
        if not self._max_seconds or not self._seconds_per_item:
            return self._max_batch
        return max(1, min(self._max_batch, int(self._max_seconds / self._seconds_per_item)))

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if batch:
                await self._run_batch(batch)

    async def _fill(self) -> None:
        until = self._queue[0].since + self._max_wait
        while len(self._queue) < self._most_items and (left := until - perf_counter()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        longest, most = 0, self._most_items
        while self._queue and len(batch) < most:
            waiting = self._queue[0]
            if not waiting.future.done():
                longest = max(longest, waiting.size)
                if batch and self._max_size and longest * (len(batch) + 1) > self._max_size:
                    break
                batch.append(waiting)
            self._queue.popleft()
        return batch

    async def _run_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
        loop = asyncio.get_running_loop()
        self._since = start = perf_counter()
        try:
            results = await loop.run_in_executor(self._thread, self._run, [each.item for each in batch])
        except Exception as error:
            self.in_trouble = True
            if len(batch) > 1:
                for waiting in batch:
                    await self._run_batch([waiting])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        finally:
            self._since = None
        ran = perf_counter() - start
        self.in_trouble = False
        took = ran / len(batch)
        # A first run is slow for other reasons, so that a faster one counts at once.
        self._seconds_per_item = min(took, running_mean(self._seconds_per_item, took))
        self.batches += 1
        self.items += len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result((result, start - waiting.since, ran))
