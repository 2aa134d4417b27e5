"""What goes into a collection and what comes out of it: plain frozen dataclasses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

Value: TypeAlias = str | int | float | None
Kind: TypeAlias = Literal["image", "text"]


_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


def written_value(text: str) -> str | int | float:
    """A number where a cell or a filter plainly is one, such as 7 or -19.90; otherwise the text as it stands.

    00123, 1e5 and nan are text, and so is what has more digits than a number keeps.
    """
    if not _NUMBER.fullmatch(text) or sum(letter.isdigit() for letter in text) > 15:
        return text
    return float(text) if "." in text else int(text)


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model whose vectors a collection holds.

    Attributes:
        key: its number in the collection.
        model_id: what it was called when it was loaded.
        fingerprint: of its weights and preprocessing; vectors of two fingerprints are never compared.
        embed_dim: width E of its vectors.
        logit_scale: exp(t).
        logit_bias: b.
    """

    key: int
    model_id: str
    fingerprint: str
    embed_dim: int
    logit_scale: float
    logit_bias: float


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """What a photo's file says about it.

    Attributes:
        width: of the upright photo, in pixels.
        height: of the upright photo, in pixels.
        taken_at: `YYYY-MM-DD HH:MM:SS` by the camera's clock.
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        camera: maker and model.
    """

    width: int | None = None
    height: int | None = None
    taken_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None


NO_FACTS = PhotoFacts()


@dataclass(frozen=True, kw_only=True)
class SeenFile:
    """A file as it lies on disk: what tells whether it has changed."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class NewRow:
    """A photo or text to be stored.

    Attributes:
        digest: of the whole content; rows of one digest are one row.
        vector: (E,) float32 of unit length; None where the collection has it already.
        kind: photo or text.
        file: where it lies; None for texts.
        text: the text itself, or a photo's caption.
        facts: of a photo.
        columns: the user's own.
    """

    digest: bytes
    vector: np.ndarray | None
    kind: Kind = "image"
    file: SeenFile | None = None
    text: str | None = None
    facts: PhotoFacts = NO_FACTS
    columns: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BrokenFile:
    """A file that could not be used.

    Attributes:
        file: which one.
        reason: why.
        lasting: whether it is passed over until it changes; the next run tries again what was due to
            something else, such as rights or a missing plug-in.
    """

    file: SeenFile
    reason: str
    lasting: bool = True

    def to_store(self) -> "BrokenFile":
        """As a store keeps it: what is to be tried again looks as if it had changed since."""
        if self.lasting:
            return self
        return replace(self, file=replace(self.file, size=-1, mtime_ns=-1))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row as it is stored, without its vector. Attributes as in `NewRow`; `paths` are all its places."""

    id: int
    digest: bytes
    kind: Kind
    paths: tuple[str, ...]
    text: str | None
    facts: PhotoFacts
    columns: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A search result.

    Attributes:
        row: what was found.
        path: a place of the photo: one that is in the folders that were asked for, and that is still there,
            if any is; None for texts.
        score: what results are ordered by: the cosine for a single phrase or example; for mixtures, the
            weighted sum of the terms, each in units of its spread over the collection.
        cosine: with the first phrase, or with the first example where there is no phrase.
        logit: exp(t) * cosine + b of the phrase and a photo; None for examples of the same kind, of which
            the model says no probability, and for several phrases, of which it would say several.
        probability: its sigmoid.
    """

    row: Row
    path: str | None
    score: float
    cosine: float
    logit: float | None
    probability: float | None
