"""Photos of folders into a collection: found, skipped if known, embedded, stored batch by batch."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage, InvalidInput, UnavailableImage
from siglip2.search.decoder_process import Failure
from siglip2.search.decoders import DecodedPhoto, Photo, decode_photos
from siglip2.search.files import find_photos, is_regular
from siglip2.search.rows import NO_FACTS, BrokenFile, NewRow, SeenFile, StoredModel
from siglip2.search.store import Store
from siglip2.search.video import frame_place, has_ffmpeg, is_video, key_frames, real_path
from siglip2.similarity import to_unit_length

GROUP = 8
"""Batches of files per commit at most, where their contents are known and nothing is embedded."""

Elsewhere: TypeAlias = Callable[[Iterator[SeenFile]], Iterator[tuple[list[NewRow], list[BrokenFile]]]]
"""Makes rows of files; the files are asked for as they are needed."""


@dataclass(frozen=True, kw_only=True)
class AddReport:
    """What indexing did.

    Attributes:
        found: photos seen in the folders.
        embedded: photos that went through the tower.
        known: files that had not changed.
        placed: files whose content the collection had already: moved, renamed, copied.
        removed: photos whose files are gone.
        broken: files that cannot be used, with the reason; those known to be broken and unchanged included.
        kept_folders: folders in which nothing was found any more; their photos were kept, as an unmounted
            disk looks the same.
        unlisted: folders whose files cannot be seen, each with the reason; their photos were kept.
    """

    found: int
    embedded: int
    known: int
    placed: int
    removed: int
    broken: tuple[BrokenFile, ...]
    kept_folders: tuple[str, ...]
    unlisted: tuple[str, ...]


class FolderIndexer:
    """One run over some folders. What a batch has stored stays, whatever ends the run."""

    def __init__(
        self,
        store: Store,
        model: StoredModel,
        encoder: Callable[[], Encoder],
        *,
        batch_size: int | None = None,
        check_content: bool = False,
        forget: Sequence[str] = (),
        elsewhere: Elsewhere | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ):
        """Prepare a run.

        Args:
            store: where rows go.
            model: whose vectors these are.
            encoder: makes them; not asked for if they are made elsewhere.
            batch_size: photos per run of the tower and per commit.
            check_content: read files again whose size and time have not changed.
            forget: places to forget in the end.
            elsewhere: makes rows of files on other machines.
            advance: told the number of files that were finished.

        Raises:
            InvalidInput: a batch of less than one photo.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInput(f"batch_size is {batch_size}; it must be at least 1")
        self._store, self._model, self._encoder = store, model, encoder
        self._batch_size = batch_size
        self._check_content = check_content
        self._forget = forget
        self._elsewhere = elsewhere
        self._advance = advance
        self._found = self._embedded = self._known = self._placed = 0
        self._broken: list[BrokenFile] = []
        self._unlisted: dict[str, str] = {}
        # On disk if it grows: memory stays constant, however many files there are.
        self._seen = sqlite3.connect("")
        self._seen.execute("CREATE TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID")

    def run(self, roots: Sequence[str]) -> AddReport:
        """Index files and folders, given as absolute paths."""
        files = self._unknown_files(roots)
        if self._elsewhere is None:
            self._embed_here(files)
        else:
            for rows, broken in self._elsewhere(files):
                self._take(rows, broken)
        self._store.forget_files(self._forget)
        kept = [root for root in roots if os.path.isdir(root) and self._forget_missing(root)]
        return AddReport(
            found=self._found,
            embedded=self._embedded,
            known=self._known,
            placed=self._placed,
            removed=self._store.remove_unplaced(),
            broken=tuple(self._broken),
            kept_folders=tuple(kept),
            unlisted=tuple(f"{folder} cannot be listed: {why}" for folder, why in self._unlisted.items()),
        )

    def _embed_here(self, files: Iterator[SeenFile]) -> None:
        encoder = self._encoder()
        size = self._batch_size or encoder.default_batch_size
        decoded = decode_photos(
            self._photos(files), encoder.image_preprocessor, self._has_content, ahead=size
        )
        group: list[DecodedPhoto] = []
        for each in decoded:
            group.append(each)
            if sum(one.prepared is not None for one in group) == size or len(group) == GROUP * size:
                self._store_group(encoder, group)
                group = []
        if group:
            self._store_group(encoder, group)

    def _store_group(self, encoder: Encoder, group: Sequence[DecodedPhoto]) -> None:
        images = [each.prepared.image for each in group if each.prepared]
        vectors = iter(())
        if images:
            batch = encoder.image_preprocessor.batch(images)
            vectors = iter(to_unit_length(encoder.runtime.encode_images(batch).pooled))
        rows: list[NewRow] = []
        broken: list[BrokenFile] = []
        for each in group:
            file, seconds = each.photo.file, each.photo.seconds
            if each.failure is not None or each.digest is None:
                failure = each.failure or Failure(reason=f"{file.path} cannot be read", lasting=False)
                broken.append(BrokenFile(file=file, reason=failure.reason, lasting=failure.lasting))
                continue
            rows.append(
                NewRow(
                    digest=each.digest,
                    vector=np.asarray(next(vectors)) if each.prepared else None,
                    file=file,
                    facts=each.prepared.facts if each.prepared else NO_FACTS,
                    columns={} if seconds is None else {"seconds": seconds},
                )
            )
        self._take(rows, broken, finished=sum(each.photo.seconds is None for each in group))

    def _has_content(self, digest: bytes) -> bool:
        return self._store.has_vector(self._model, digest)

    def _take(self, rows: list[NewRow], broken: list[BrokenFile], finished: int | None = None) -> None:
        self._store.write(self._model, rows, [each.to_store() for each in broken])
        embedded = sum(row.vector is not None for row in rows)
        self._embedded += embedded
        self._placed += len(rows) - embedded
        self._broken.extend(broken)
        self._advance(len(rows) + len(broken) if finished is None else finished)

    def _unknown_files(self, roots: Sequence[str]) -> Iterator[SeenFile]:
        for root in roots:
            for file in find_photos(root, self._unlisted.__setitem__):
                if self._first_time(file.path):
                    self._found += 1
                    if not self._is_known(file):
                        yield file

    def _is_known(self, file: SeenFile) -> bool:
        if self._check_content:
            return False
        # A video's first frame is stored last: where it is, all are.
        video = is_video(file.path) and has_ffmpeg()
        known = self._store.known_file(frame_place(file.path, 0.0) if video else file.path)
        # Of a frame, size and time are the video's.
        unchanged = known and (known[0].size, known[0].mtime_ns) == (file.size, file.mtime_ns)
        if known and unchanged and self._store.has_vector(self._model, known[1]):
            self._known += 1
            self._advance(1)
            return True
        broken = self._store.known_broken(file.path)
        if broken is None or broken.file != file:
            return False
        self._broken.append(broken)
        self._advance(1)
        return True

    def _photos(self, files: Iterator[SeenFile]) -> Iterator[Photo]:
        for file in files:
            if not (is_video(file.path) and has_ffmpeg()):
                yield Photo(file=file)
                continue
            try:
                yield from self._frames(file)
            except InvalidImage as error:
                self._store_broken(file, error)

    def _frames(self, video: SeenFile) -> Iterator[Photo]:
        if not is_regular(video.path):
            raise InvalidImage(f"{video.path} is not a regular file")
        old = list(self._store.paths_under(video.path))
        new: set[str] = set()
        # Stored in this order: the first frame, by which a video is known to be complete, comes last.
        for frame in key_frames(video.path):
            new.add(frame.path)
            yield Photo(file=replace(video, path=frame.path), data=frame.data, seconds=frame.seconds)
        self._store.forget_files([path for path in old if path not in new])
        self._advance(1)

    def _store_broken(self, file: SeenFile, error: InvalidImage) -> None:
        lasting = not isinstance(error, UnavailableImage)
        broken = BrokenFile(file=file, reason=str(error), lasting=lasting)
        self._store.write(self._model, [], [broken.to_store()])
        self._broken.append(broken)
        self._advance(1)

    def _first_time(self, path: str) -> bool:
        sql = "INSERT OR IGNORE INTO seen VALUES (?)"
        return self._seen.execute(sql, [os.fsencode(path)]).rowcount == 1

    def _was_seen(self, path: str) -> bool:
        sql = "SELECT 1 FROM seen WHERE path = ?"
        return self._seen.execute(sql, [os.fsencode(path)]).fetchone() is not None

    def _forget_missing(self, root: str) -> bool:
        """Forget files below a folder that are gone; True if all are, and were kept for that."""
        start = os.fsencode(os.path.join(root, ""))
        sql = "SELECT 1 FROM seen WHERE path >= ? AND path < ? LIMIT 1"
        end = start[:-1] + bytes([start[-1] + 1])
        empty = self._seen.execute(sql, [start, end]).fetchone() is None
        gone: list[str] = []
        hidden = tuple(os.path.join(folder, "") for folder in self._unlisted)
        for path in self._store.paths_under(root):
            if path.startswith(hidden):
                continue
            # Written in the meantime by someone else: still there, so kept.
            if not self._was_seen(path) and not os.path.lexists(real_path(path)):
                if empty:
                    return True
                gone.append(path)
            if len(gone) >= 1000:
                self._store.forget_files(gone)
                gone.clear()
        if gone:
            self._store.forget_files(gone)
        return False
