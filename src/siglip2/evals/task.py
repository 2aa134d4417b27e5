"""What every task has: a name, the data it needs and where a user gets it, a measure, and a run."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from siglip2.encoder import Encoder, PatchFeatures
from siglip2.errors import Siglip2Error
from siglip2.evals import protocol as protocols
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.images import ImageFile
from siglip2.evals.results import Outcome
from siglip2.prompts import label_prompts, resolve_templates
from siglip2.similarity import to_unit_length

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data that a task needs.

    Attributes:
        folder: where it lies under the data folder.
        title: what people call it.
        licence: as its publisher states it.
        page: where a user gets it.
        layout: the files wanted in the folder.
    """

    folder: str
    title: str
    licence: str
    page: str
    layout: str


class MissingData(Siglip2Error):
    """A data set is not there; says what it is, where to get it and how to lay it out."""

    def __init__(self, data: DataSet, root: Path):
        super().__init__(
            f"{data.title} is not in {root / data.folder}. Licence: {data.licence}. "
            f"Get it from {data.page} and lay it out as {data.layout}"
        )
        self.data = data


@dataclass
class Context:
    """A model, its protocol and the data folder, as a task sees them.

    Attributes:
        encoder: the model.
        data: folder under which each data set has its own.
        protocol: how it is measured.
        cache: vectors computed so far.
        limit: measure only so many images; the result says so.
        seed: of every random choice.
        progress: show bars.
        examples: keep pictures for the report.
        shared: what tasks on the same data have made, see `kept`.
    """

    encoder: Encoder
    data: Path
    protocol: protocols.Protocol
    cache: EmbeddingCache
    limit: int | None = None
    seed: int = 0
    progress: bool = False
    examples: bool = True
    shared: dict[tuple[object, ...], object] = field(default_factory=dict)

    def folder(self, data: DataSet) -> Path:
        """Folder of a data set.

        Raises:
            MissingData: it is not there.
        """
        path = self.data / data.folder
        if not path.is_dir():
            raise MissingData(data, self.data)
        return path

    def file_stamp(self, data: DataSet) -> str | None:
        """A hash of names, sizes and times of a data set's files, which tells whether they changed.

        None where the data set is not there. Contents are not read, so that a million files take seconds.
        """
        folder = self.data / data.folder
        return self.kept(("stamp", folder), lambda: _stamp(folder)) if folder.is_dir() else None

    @cached_property
    def deviations(self) -> list[protocols.Deviation]:
        """Switches that are not the paper's."""
        return protocols.deviations(self.protocol)

    def kept(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What tasks on the same data share, made once: a data set that was read."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]  # pyright: ignore[reportReturnType]

    def limited(self, count: int) -> np.ndarray:
        """Positions of the images to measure: all, or a seeded sample in their order."""
        if self.limit is None or self.limit >= count:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).choice(count, self.limit, replace=False))

    def pooled(self, images: Sequence[ImageFile]) -> np.ndarray:
        """Raw output of the pooling head, (B, E)."""
        return self.cache.pooled(images, progress=self.progress)

    def embed_images(self, images: Sequence[ImageFile]) -> np.ndarray:
        """Unit image embeddings, (B, E)."""
        return to_unit_length(self.pooled(images))

    def patches(self, images: Sequence[ImageFile]) -> list[PatchFeatures]:
        """Features of the patches of each image."""
        return list(self.cache.patches(images, progress=self.progress))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Unit text embeddings, (T, E), of texts as they stand."""
        return self.cache.texts(texts, progress=self.progress)

    def class_embeddings(self, names: Sequence[str], templates: Sequence[str] | None = None) -> np.ndarray:
        """Unit embeddings of classes, (C, E): unit prompts, averaged, brought to unit length again.

        Args:
            names: of the classes.
            templates: the data set's own, which stand in for CLIP's; None where it has none.
        """
        own = templates and self.protocol.templates in protocols_with_own_templates
        chosen = tuple(templates or ()) if own else resolve_templates(self.protocol.templates)
        prompts = [label_prompts(name, chosen, canonical=self.protocol.canonicalize) for name in names]
        flat = [prompt for each in prompts for prompt in each]
        embedded = self.embed_texts(flat).reshape(len(names), len(chosen), -1)
        return to_unit_length(embedded.mean(axis=1))


def _stamp(folder: Path) -> str:
    rows, seen = [], set()
    for inside, folders, names in os.walk(folder, followlinks=True):
        rows.append(os.path.relpath(inside, folder))  # an empty folder is a class as well
        resolved = os.path.realpath(inside)
        if resolved in seen:  # a link back into the data set
            folders.clear()
            continue
        seen.add(resolved)
        for name in names:
            path = os.path.join(inside, name)
            with contextlib.suppress(OSError):  # a link that leads nowhere
                state = os.stat(path)
                rows.append(f"{os.path.relpath(path, folder)} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(rows)).encode(errors="surrogateescape")).hexdigest()[:16]


protocols_with_own_templates = ("clip81", "clip8")
"""Under these a data set's own templates are used: CLIP has a list for each data set."""


class Task(Protocol):
    """One measurement.

    Attributes:
        name: as the command line calls it; also the name of its result file.
        title: for people.
        data: what it needs.
        main: name of the main measure.
        trains: whether it fits something with torch.
        published: key of its numbers in the table of published figures, if the paper has any.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def data(self) -> tuple[DataSet, ...]: ...  # noqa: D102
    @property
    def main(self) -> str: ...  # noqa: D102
    @property
    def trains(self) -> bool: ...  # noqa: D102
    @property
    def published(self) -> str | None: ...  # noqa: D102

    def run(self, context: Context) -> Outcome:
        """Measure.

        Raises:
            MissingData: a data set is not there.
            InvalidInput: a data set is laid out in another way than its publisher does.
        """
        ...
