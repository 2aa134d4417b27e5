"""The served models by name: requests pick one, and one can be loaded anew while requests run."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from siglip2.encoder import Encoder
from siglip2.errors import InvalidInput
from siglip2.serve.engine import Engine
from siglip2.serve.settings import ServeSettings


class Models:
    """Engines by the names of their models; the first is the default."""

    def __init__(
        self,
        settings: ServeSettings,
        load: Callable[[str], Encoder],
        loaded: Encoder | None = None,
        make_engine: Callable[[Encoder], Engine] | None = None,
    ):
        """Load every model of the settings.

        Args:
            settings: names and sources.
            load: makes a model of its source.
            loaded: the default model, if there is one already.
            make_engine: what runs a model; None for its towers in this process.
        """
        self._make_engine = make_engine or (lambda encoder: Engine(encoder, settings.engine))
        self._settings = settings
        self._load = load
        self.default = settings.model
        names = dict.fromkeys((settings.model, *settings.other_models))
        self._engines = {
            name: self._make_engine(
                loaded if loaded is not None and name == self.default else load(settings.source(name))
            )
            for name in names
        }
        self._reloading = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[tuple[str, Engine]]:
        return iter(self._engines.items())

    def resolve(self, name: str | None) -> str | None:
        """The model that a request means: the default for nothing or an alias; None if there is none."""
        if name is None or name in self._settings.aliases:
            return self.default
        return name if name in self._engines else None

    def engine(self, name: str) -> Engine:
        """What runs a model now."""
        return self._engines[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models, the default first."""
        return tuple(self._engines)

    async def start(self) -> None:
        """Warm every model."""
        for engine in self._engines.values():
            await engine.start()

    async def stop(self) -> None:
        """End all of them, also those that were replaced and still answer."""
        await asyncio.gather(*(engine.stop() for engine in self._engines.values()), *self._retiring)

    async def reload(self, name: str) -> Engine:
        """Load a model again from where it came; requests go on, with the old one until the new one is warm.

        Raises:
            Exception: its source cannot be loaded any more; the old one stays.
        """
        async with self._reloading:
            encoder = await asyncio.to_thread(self._load, self._settings.source(name))
            fresh = self._make_engine(encoder)
            try:
                await fresh.start()
            except BaseException:
                await fresh.stop()
                raise
            old, self._engines[name] = self._engines[name], fresh
            task = asyncio.get_running_loop().create_task(old.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
            return fresh


def parse_models(given: tuple[str, ...]) -> dict[str, str]:
    """Names and sources of `MODEL` or `NAME=MODEL`; a folder or file is called by its last part.

    Raises:
        InvalidInput: two models of one name.
    """
    sources: dict[str, str] = {}
    for text in given:
        name, found, source = text.partition("=")
        if not found:
            source = text
            # A path of the server is nobody else's business.
            name = Path(text).resolve().name if Path(text).expanduser().exists() else text
        if not name or not source:
            raise InvalidInput(f"{text!r} is neither MODEL nor NAME=MODEL")
        if name in sources:
            raise InvalidInput(f"two models are called {name}: name one of them as NAME=MODEL")
        sources[name] = source
    return sources
