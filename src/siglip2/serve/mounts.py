"""Collections that requests may search, opened once and bound to the served model that made their vectors."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from siglip2.errors import InvalidImage, InvalidInput
from siglip2.inputs.decode import load_image
from siglip2.search.collection import Collection
from siglip2.search.filters import Filter, parse_filter, split_filter
from siglip2.search.query import Term
from siglip2.search.rows import Hit, Kind
from siglip2.serve.models import Models

NO_FILTERS = frozenset({"folder"})
"""They would tell callers what folders the server has."""

MAX_FILTER = 1000
"""Characters."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A collection under a name.

    Attributes:
        name: as requests say it.
        model: the served model whose vectors are searched.
        collection: the collection.
        thread: of its searches, one at a time; the scan uses all cores anyway.
    """

    name: str
    model: str
    collection: Collection
    thread: ThreadPoolExecutor

    async def search(
        self,
        wanted: Sequence[Term],
        unwanted: Sequence[Term],
        *,
        where: Sequence[Filter],
        limit: int,
        offset: int,
        kind: Kind | None,
        min_probability: float,
    ) -> list[Hit]:
        """As `Collection.search_terms`.

        Raises:
            InvalidInput: a least probability with several phrases.
        """

        def find() -> list[Hit]:
            if not len(self.collection):
                return []
            return self.collection.search_terms(
                wanted,
                unwanted,
                where=where,
                limit=limit,
                offset=offset,
                kind=kind,
                min_probability=min_probability,
            )

        return await asyncio.get_running_loop().run_in_executor(self.thread, find)

    def picture(self, row_id: int, height: int) -> bytes | None:
        """A photo of the collection as JPEG of at most this height; None where there is none."""
        rows = self.collection.store.rows([row_id])
        for path in rows[0].paths if rows and rows[0].kind == "image" else ():
            try:
                picture = load_image(path, target=(height, height))
            except (InvalidImage, OSError):
                continue
            picture.thumbnail((8 * height, height))
            written = io.BytesIO()
            picture.save(written, "JPEG", quality=85)
            return written.getvalue()
        return None


class Mounts:
    """Collections by name."""

    def __init__(self, collections: Mapping[str, Path], models: Models):
        """Open them.

        Raises:
            InvalidInput: no such collection, or one without vectors of a served model.
        """
        self._mounts = {name: _mount(name, path, models) for name, path in collections.items()}

    def __iter__(self):
        return iter(self._mounts.values())

    def get(self, name: str) -> Mount | None:
        """A collection by its name."""
        return self._mounts.get(name)

    def close(self) -> None:
        """Close the files."""
        for mount in self._mounts.values():
            mount.thread.shutdown(wait=True, cancel_futures=True)
            mount.collection.close()


def read_filter(text: str) -> Filter:
    """A filter of a caller, who is not to learn about the server's folders.

    Raises:
        InvalidInput: it cannot be read, or asks for folders.
    """
    if len(text) > MAX_FILTER:
        raise InvalidInput(f"a filter has at most {MAX_FILTER} characters")
    written = split_filter(text)
    if written is None:
        raise InvalidInput(
            f"the filter {text!r} is not NAME OPERATOR VALUE, such as taken>=2020-06, camera~canon, "
            "near=47.37,8.54,10 (latitude, longitude, km), words~beach or price<20"
        )
    if written.name in NO_FILTERS:
        raise InvalidInput(f"the filter {written.name} is not offered here")
    return parse_filter(text)


def _mount(name: str, path: Path, models: Models) -> Mount:
    refusal: InvalidInput | None = None
    for model, engine in models:
        try:
            collection = Collection.open(path, engine.encoder, create=False)
        except InvalidInput as error:
            refusal = refusal or error
            continue
        thread = ThreadPoolExecutor(1, thread_name_prefix="siglip2-search")
        return Mount(name=name, model=model, collection=collection, thread=thread)
    assert refusal is not None
    raise refusal
