"""A collection of photos or texts: opened with a model, filled from folders, searched by words or example."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from siglip2.encoder import Encoder, load
from siglip2.errors import InvalidInput
from siglip2.inputs.sources import ImageSource
from siglip2.search.files import absolute, likeliest
from siglip2.search.filters import Filter, folder_path, parse_filter
from siglip2.search.indexing import AddReport, FolderIndexer
from siglip2.search.models import choose_model
from siglip2.search.places import open_place
from siglip2.search.query import Query, Term
from siglip2.search.ray_indexing import RayEmbedding
from siglip2.search.rows import BrokenFile, Hit, Kind, NewRow, Row, SeenFile, StoredModel
from siglip2.search.store import Store
from siglip2.search.table import Hits, row_batches
from siglip2.search.text_files import TextRow, text_row
from siglip2.search.vector_search import Mode, VectorSearch
from siglip2.search.video import real_path
from siglip2.similarity import sigmoid

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_BATCH = 256


class Collection:
    """Photos, texts, and what a model sees in them.

    Attributes:
        store: rows, files and vectors.
        model: whose vectors are searched.
        vectors: finds the nearest.
    """

    def __init__(
        self, store: Store, model: StoredModel, vectors: VectorSearch, encoder: Callable[[], Encoder]
    ):
        """Most callers use `Collection.open`."""
        self.store, self.model, self.vectors = store, model, vectors
        self._make_encoder = encoder
        self._encoder: Encoder | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        model: str | Path | Encoder | None = None,
        *,
        create: bool = True,
        add_model: bool = False,
    ) -> "Collection":
        """Open a collection, or make one.

        Args:
            path: of its file, beside which copies of the vectors lie in PATH.cache; or, as text, the address
                of a Milvus server and a name there, `milvus+http://HOST:PORT/NAME`.
            model: an encoder, or the name of a model, loaded when it is needed; None takes the model that
                the collection was made with.
            create: make the collection where there is none.
            add_model: keep vectors of this model beside those of others; `reembed` makes them.

        Raises:
            InvalidInput: no such collection, something else in its place, or one that holds vectors of
                other models only.
        """
        place = open_place(path, create)
        store = place.store
        try:
            is_new = place.is_new or not store.models()
            if is_new and not create:
                raise InvalidInput(f"{place.name} holds nothing yet: `siglip2 index add FOLDER` fills it")
            stored, encoder = choose_model(store, place.name, model, is_new, add_model)
        except BaseException:
            place.give_up()
            raise
        collection = cls(store, stored, place.search(stored), lambda: load(stored.model_id))
        collection._encoder = encoder
        return collection

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.store.count(self.model)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    @property
    def encoder(self) -> Encoder:
        """The model, loaded on first use.

        Raises:
            InvalidInput: its name leads to other weights than those that made the vectors.
        """
        if self._encoder is None:
            encoder = self._make_encoder()
            if encoder.fingerprint != self.model.fingerprint:
                raise InvalidInput(
                    f"the model {self.model.model_id} is not the one that made these vectors any more: its "
                    "weights or its preprocessing have changed; re-embed with `siglip2 index reembed --model "
                    f"{self.model.model_id}`, or, if the collection was made from Python with an encoder of "
                    "another image_preset or lowercase, open it with that encoder"
                )
            self._encoder = encoder
        return self._encoder

    def add(
        self,
        folders: Iterable[str | os.PathLike[str]],
        *,
        batch_size: int | None = None,
        check_content: bool = False,
        forget: Sequence[str] = (),
        ray: str | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> AddReport:
        """Bring photos of folders in, and forget those that are gone from there. Can be stopped and repeated.

        Args:
            folders: folders or files.
            batch_size: photos per run of the tower; a batch is stored all or not at all.
            check_content: read files again whose size and time have not changed.
            forget: places, as they stand in rows, to forget when the new ones are in.
            ray: address of a Ray cluster whose machines embed; they see the files under the same paths.
            advance: told the number of files that were finished.

        Raises:
            InvalidInput: a folder that does not exist, or one path instead of several.
        """
        if isinstance(folders, str | os.PathLike):
            raise InvalidInput(f"expected several folders, got {folders!r}: put it in a list")
        roots = [absolute(folder) for folder in folders]
        indexer = FolderIndexer(
            self.store,
            self.model,
            lambda: self.encoder,
            batch_size=batch_size,
            check_content=check_content,
            forget=forget,
            elsewhere=RayEmbedding(ray, self.store, self.model) if ray else None,
            advance=advance,
        )
        report = indexer.run(roots)
        self.vectors.refresh(self.store)
        return report

    def add_texts(self, rows: Iterable[TextRow], *, text_column: str = "text") -> int:
        """Bring texts in: captions, names of products. The same row twice is one row.

        Args:
            rows: texts, or mappings of which one value is the text and the others are kept as columns.
            text_column: which one.

        Returns:
            Number of rows read.

        Raises:
            InvalidInput: a row without text, a column named as a filter on photos, or a value of nan or inf.
        """
        remaining, total = iter(rows), 0
        while batch := [text_row(row, text_column) for row in islice(remaining, TEXT_BATCH)]:
            self._embed_texts(batch)
            total += len(batch)
        self.vectors.refresh(self.store)
        return total

    def remove_texts(self, where: Sequence[str | Filter]) -> int:
        """Remove the texts that pass all filters; their number. A corrected text is a new one beside the old.

        Raises:
            InvalidInput: no filter, or one that cannot be read.
        """
        if not where:
            raise InvalidInput("say which texts: where=['kind=text'] removes all")
        filters = [parse_filter(each) if isinstance(each, str) else each for each in where]
        ids = {
            each
            for model in self.store.models()
            for each in self.store.matching(model, [*filters, Filter("kind", "=", "text")]).tolist()
        }
        self.store.remove_rows(sorted(ids))
        self.vectors.refresh(self.store)
        return len(ids)

    def reembed(self, *, advance: Callable[[int], None] = lambda _: None) -> AddReport:
        """Make this model's vectors of everything that the collection holds. Can be stopped and repeated.

        Returns:
            What was done; files that are gone are among the broken ones, their rows get no vector.
        """
        for other in self.store.models():
            ids = self.store.matching(other, [Filter("kind", "=", "text")]).tolist()
            for start in range(0, len(ids), TEXT_BATCH):
                kept = self.store.rows(ids[start : start + TEXT_BATCH])
                self._embed_texts(
                    [
                        NewRow(
                            digest=row.digest, vector=None, kind=row.kind, text=row.text, columns=row.columns
                        )
                        for row in kept
                    ]
                )
        # Of a video, one of its frames.
        places = {real_path(place): place for place in self.store.paths_under(os.path.abspath(os.sep))}
        report = self.add(sorted(path for path in places if os.path.lexists(path)), advance=advance)
        missing = [
            BrokenFile(
                file=SeenFile(path=path, size=-1, mtime_ns=-1),
                reason=f"{path} is not there, so its photo got no vector of {self.model.model_id}",
            )
            for path, place in sorted(places.items())
            if not os.path.lexists(path)
            if (known := self.store.known_file(place)) and not self.store.has_vector(self.model, known[1])
        ]
        return replace(report, broken=(*report.broken, *missing))

    def search(
        self,
        text: str | Sequence[str] = (),
        image: ImageSource | Sequence[ImageSource] | None = None,
        *,
        not_: Sequence[str] = (),
        where: Sequence[str | Filter] = (),
        limit: int = 20,
        offset: int = 0,
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        kind: Kind | None = None,
        min_probability: float = 0.0,
        mode: Mode = "auto",
    ) -> Hits:
        """Find rows.

        Args:
            text: one phrase or several, exactly as they stand.
            image: an example, or several.
            not_: phrases that results should not fit.
            where: filters; all of them hold.
            limit: number of results.
            offset: results to leave out at the beginning, for paging.
            text_weight: of each phrase in a mixture.
            image_weight: of each example in a mixture.
            kind: photos or texts; None takes photos where there are any.
            min_probability: with one phrase, results below this are no match; then the list may be empty.
            mode: `exact` compares with every row; `index` asks the index; `auto` asks it where it is up to
                date and the collection too large for a scan.

        Raises:
            InvalidInput: neither phrase nor example, a filter that cannot be read, or a least probability
                with several phrases.
            InvalidImage: an example cannot be used.
        """
        if limit < 1 or offset < 0:
            raise InvalidInput(f"limit {limit} must be at least 1, and offset {offset} at least 0")
        wanted = [*self._phrases(text, text_weight), *self._examples(image, image_weight)]
        return self.search_terms(
            wanted,
            self._phrases(not_, 1.0),
            where=where,
            limit=limit,
            offset=offset,
            kind=kind,
            min_probability=min_probability,
            mode=mode,
        )

    def like(self, row_id: int, *, limit: int = 20, offset: int = 0, **options: object) -> Hits:
        """Rows like one of the collection's own, which is left out. Options as in `search`.

        Raises:
            InvalidInput: no such row.
        """
        vector = self.store.vector(self.model, row_id)
        if vector is None:
            raise InvalidInput(f"the collection has no row {row_id}")
        own = self.store.rows([row_id])[0]
        term = Term(vector, 1.0, own.kind == "text")
        # From the first on: before its own row there may be copies of it, on an earlier page.
        found = self.search_terms([term], limit=offset + limit + 1, **options)  # pyright: ignore
        return Hits([hit for hit in found if hit.row.id != row_id][offset : offset + limit])

    def search_terms(
        self,
        wanted: Sequence[Term],
        unwanted: Sequence[Term] = (),
        *,
        where: Sequence[str | Filter] = (),
        limit: int = 20,
        offset: int = 0,
        kind: Kind | None = None,
        min_probability: float = 0.0,
        mode: Mode = "auto",
    ) -> Hits:
        """As `search`, with vectors that were made before."""
        if not wanted:
            raise InvalidInput("say what to look for: a phrase, an example image, or both")
        filters = [parse_filter(each) if isinstance(each, str) else each for each in where]
        kinds = self.store.kinds(self.model)
        chosen = kind or ("image" if "image" in kinds else "text")
        mixed = bool(kinds - {chosen})
        if mixed:
            filters.append(Filter("kind", "=", chosen))
        # Of the kind that is looked for: a phrase lies several times as near to texts as to photos.
        query = Query(wanted, unwanted, lambda: self.vectors.sample(self.store, chosen if mixed else None))
        if min_probability > 0 and query.judged is None:
            raise InvalidInput("a least probability goes with one phrase only: of several none is given")
        ids, scores, vectors = self.vectors.nearest(self.store, query, filters, offset + limit, mode)
        rows = {row.id: row for row in self.store.rows(ids[offset:].tolist())}
        found = zip(ids[offset:].tolist(), scores[offset:].tolist(), vectors[offset:], strict=True)
        folders = [folder_path(each.value) for each in filters if each.name == "folder"]
        hits = Hits(
            self._hit(rows[row_id], score, vector, query, likeliest(rows[row_id].paths, folders))
            for row_id, score, vector in found
            if row_id in rows
        )
        if min_probability <= 0:
            return hits
        return Hits(hit for hit in hits if hit.probability is None or hit.probability >= min_probability)

    def to_arrow(self, where: Sequence[str | Filter] = (), *, with_vectors: bool = False) -> "pa.Table":
        """All rows that pass the filters as an Arrow table; `search.table.row_batches` gives it in pieces.

        Raises:
            InvalidInput: a filter that cannot be read.
            Siglip2Error: pyarrow is missing.
        """
        return row_batches(self, where, with_vectors=with_vectors).read_all()

    def _hit(self, row: Row, score: float, vector: np.ndarray, query: Query, path: str | None) -> Hit:
        term = query.judged or query.wanted[0]
        cosine = float(vector @ term.vector)
        if query.judged is None or term.is_text == (row.kind == "text"):
            # The scale and bias were learned for text against photo; they say nothing of two of a kind.
            return Hit(row=row, path=path, score=score, cosine=cosine, logit=None, probability=None)
        logit = self.model.logit_scale * cosine + self.model.logit_bias
        probability = float(sigmoid(np.array(logit)))
        return Hit(row=row, path=path, score=score, cosine=cosine, logit=logit, probability=probability)

    def _phrases(self, text: str | Sequence[str], weight: float) -> list[Term]:
        texts = [text] if isinstance(text, str) else list(text)
        return [Term(vector, weight, True) for vector in self.encoder.embed_texts(texts)] if texts else []

    def _examples(self, image: ImageSource | Sequence[ImageSource] | None, weight: float) -> list[Term]:
        if image is None:
            return []
        images = cast("list[ImageSource]", list(image) if isinstance(image, list | tuple) else [image])
        return [Term(vector, weight, False) for vector in self.encoder.embed_images(images)]

    def _embed_texts(self, rows: Sequence[NewRow]) -> None:
        missing = [row for row in rows if not self.store.has_vector(self.model, row.digest)]
        embedded = self.encoder.embed_texts([row.text or "" for row in missing])
        new = [replace(row, vector=vector) for row, vector in zip(missing, embedded, strict=True)]
        self.store.write(self.model, new)
