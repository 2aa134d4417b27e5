"""Vectors of images and texts on disk, by content, so that a second task costs no second pass.

One SQLite file per model, preprocessing and token budget; a row per picture or text, under the hash of its
bytes. Rows are committed batch by batch, so that a run that was killed goes on where it was.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from siglip2.encoder import Encoder, PatchFeatures
from siglip2.errors import InvalidImage
from siglip2.evals.images import ImageFile
from siglip2.progress import progress_bar

_CHUNK = 512
"""Pictures whose bytes are in memory at a time."""

_TABLES = """
CREATE TABLE IF NOT EXISTS pooled (hash BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS texts (hash BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS patches (
    hash BLOB PRIMARY KEY, height INTEGER NOT NULL, width INTEGER NOT NULL, vector BLOB NOT NULL
);
"""


class EmbeddingCache:
    """The vectors of one model. Not for several processes at once: the second one waits.

    Attributes:
        encoder: the model.
        path: the file; None keeps everything in memory.
        embedded: pictures and texts that went through a tower since this was opened.
    """

    def __init__(self, encoder: Encoder, folder: Path | None, *, max_num_patches: int | None = None):
        """Open or begin the file of a model.

        Args:
            encoder: the model.
            folder: where the files of all models lie; None for memory only.
            max_num_patches: NaFlex only, the token budget of an image.
        """
        self.encoder = encoder
        self.max_num_patches = max_num_patches
        self.embedded = 0
        self.path = None
        self._hashes: dict[object, bytes] = {}  # by where a picture lies
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            budget = f"-{max_num_patches}" if max_num_patches else ""
            # Precisions differ by less than a rank, but a table should not mix them.
            self.path = folder / f"{encoder.fingerprint}{budget}-{encoder.runtime.precision}.sqlite"
        self._database = sqlite3.connect(self.path or ":memory:", timeout=600)
        self._database.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing; a power cut may lose the last rows, which are then embedded again.
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def pooled(self, images: Sequence[ImageFile], *, progress: bool = False) -> np.ndarray:
        """Output of the pooling head, (B, E) float32, not normalised.

        Raises:
            InvalidImage: a picture cannot be used; names it.
        """
        result = np.zeros((len(images), self.encoder.embed_dim), np.float32)
        with progress_bar("images", len(images), enabled=progress) as advance:
            for start, keys, encoded in self._chunks(images, _CHUNK):
                known = self._read("pooled", keys)
                missing = [index for index, key in enumerate(keys) if key not in known]
                sources = [encoded[index] or images[start + index].read() for index in missing]
                stream = self.encoder.stream_images(
                    sources, max_num_patches=self.max_num_patches, normalize=False
                )
                for part in stream:
                    if part.broken:
                        name = images[start + missing[part.broken[0].index]].key
                        raise InvalidImage(f"{name}: {part.broken[0].reason}")
                    rows = {
                        keys[missing[index]]: vector
                        for index, vector in zip(part.indices.tolist(), part.embeddings, strict=True)
                    }
                    self._write("pooled", rows)
                    known |= rows
                    self.embedded += len(rows)
                result[start : start + len(keys)] = [known[key] for key in keys]
                advance(len(keys))
        return result

    def texts(self, texts: Sequence[str], *, progress: bool = False) -> np.ndarray:
        """Text embeddings, (T, E) float32 of unit length."""
        result = np.zeros((len(texts), self.encoder.embed_dim), np.float32)
        with progress_bar("texts", len(texts), enabled=progress) as advance:
            for start in range(0, len(texts), 8 * _CHUNK):
                part = texts[start : start + 8 * _CHUNK]
                keys = [_hash(text.encode()) for text in part]
                known = self._read("texts", keys)
                missing = {key: text for key, text in zip(keys, part, strict=True) if key not in known}
                if missing:
                    # Longest last: a batch of texts costs the same whatever they say.
                    vectors = self.encoder.embed_texts(list(missing.values()))
                    rows = dict(zip(missing, vectors, strict=True))
                    self._write("texts", rows)
                    known |= rows
                    self.embedded += len(rows)
                result[start : start + len(part)] = [known[key] for key in keys]
                advance(len(part))
        return result

    def patches(self, images: Sequence[ImageFile], *, progress: bool = False) -> Iterator[PatchFeatures]:
        """Features of the patches of each picture, with its pooled vector.

        Raises:
            InvalidImage: a picture cannot be used; names it.
        """
        with progress_bar("images", len(images), enabled=progress) as advance:
            for start, keys, encoded in self._chunks(images, 64):
                missing = [index for index, key in enumerate(keys) if not self._has_patches(key)]
                sources = [encoded[index] or images[start + index].read() for index in missing]
                try:
                    found = self.encoder.patch_features(sources, max_num_patches=self.max_num_patches)
                except InvalidImage as error:
                    names = ", ".join(image.key for image in images[start : start + 3])
                    raise InvalidImage(f"among the pictures from {names} on: {error}") from error
                with self._database:
                    for index, features in zip(missing, found, strict=True):
                        self._write_patches(keys[index], features)
                self.embedded += len(missing)
                yield from (self._read_patches(key) for key in keys)
                advance(len(keys))

    def _chunks(
        self, images: Sequence[ImageFile], size: int
    ) -> Iterator[tuple[int, list[bytes], list[bytes | None]]]:
        """Start, hashes and contents of some images at a time; None for one that an earlier task hashed."""
        for start in range(0, len(images), size):
            part = images[start : start + size]
            encoded = [None if image.source in self._hashes else image.read() for image in part]
            keys = [
                self._hashes[image.source] if content is None else _hash(content)
                for image, content in zip(part, encoded, strict=True)
            ]
            for image, key in zip(part, keys, strict=True):
                if not isinstance(image.source, bytes):
                    self._hashes[image.source] = key
            yield start, keys, encoded

    def _read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._database.execute(f"SELECT hash, vector FROM {table} WHERE hash IN ({marks})", part)
            found.update((key, np.frombuffer(vector, np.float32)) for key, vector in rows)
        return found

    def _write(self, table: str, rows: dict[bytes, np.ndarray]) -> None:
        values = [(key, vector.astype(np.float32).tobytes()) for key, vector in rows.items()]
        with self._database:
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", values)

    def _has_patches(self, key: bytes) -> bool:
        return self._database.execute("SELECT 1 FROM patches WHERE hash = ?", (key,)).fetchone() is not None

    def _write_patches(self, key: bytes, features: PatchFeatures) -> None:
        # The pooled vector is the last row, so that one read gives both.
        rows = np.concatenate([features.features.reshape(-1, features.pooled.size), features.pooled[None]])
        self._database.execute(
            "INSERT OR REPLACE INTO patches VALUES (?, ?, ?, ?)", (key, *features.grid, rows.tobytes())
        )

    def _read_patches(self, key: bytes) -> PatchFeatures:
        height, width, content = self._database.execute(
            "SELECT height, width, vector FROM patches WHERE hash = ?", (key,)
        ).fetchone()
        rows = np.frombuffer(content, np.float32).reshape(height * width + 1, -1)
        return PatchFeatures(
            features=rows[:-1].reshape(height, width, -1), grid=(height, width), pooled=rows[-1]
        )


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
