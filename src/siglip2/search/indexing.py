"""Photos of folders into a collection: found, skipped if known, embedded, stored batch by batch."""

import hashlib
import io
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from siglip2.encoder import Encoder
from siglip2.errors import InvalidImage
from siglip2.inputs.sources import MAX_FILE_BYTES
from siglip2.search.files import find_photos, is_regular
from siglip2.search.photo_facts import read_facts
from siglip2.search.rows import BrokenFile, NewRow, PhotoFacts, SeenFile, StoredModel
from siglip2.search.store import Store
from siglip2.search.video import Frame, frame_place, has_ffmpeg, is_video, key_frames, real_path

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
    """

    found: int
    embedded: int
    known: int
    placed: int
    removed: int
    broken: tuple[BrokenFile, ...]
    kept_folders: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A file on its way to the tower."""

    file: SeenFile
    digest: bytes
    facts: PhotoFacts
    seconds: float | None = None


class _NamedBytes(io.BytesIO):
    """Bytes of a file that was read already; errors call it by its path."""

    def __init__(self, data: bytes, path: str):
        super().__init__(data)
        self.name = self.filename = path


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
        """
        self._store, self._model, self._encoder = store, model, encoder
        self._batch_size = batch_size
        self._check_content = check_content
        self._forget = forget
        self._elsewhere = elsewhere
        self._advance = advance
        self._found = self._embedded = self._known = self._placed = 0
        self._broken: list[BrokenFile] = []
        self._waiting: deque[_Read] = deque()
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
        )

    def _embed_here(self, files: Iterator[SeenFile]) -> None:
        for part in self._encoder().stream_images(self._opened(files), batch_size=self._batch_size):
            taken = [self._waiting.popleft() for _ in range(len(part.indices) + len(part.broken))]
            first = self._embedded_from(part.indices.tolist(), [each.index for each in part.broken])
            rows = [
                NewRow(
                    digest=read.digest,
                    vector=vector,
                    file=read.file,
                    facts=read.facts,
                    columns={} if read.seconds is None else {"seconds": read.seconds},
                )
                for index, vector in zip(part.indices.tolist(), part.embeddings, strict=True)
                for read in [taken[index - first]]
            ]
            broken = [
                BrokenFile(file=taken[each.index - first].file, reason=each.reason) for each in part.broken
            ]
            self._take(rows, broken, finished=sum(read.seconds is None for read in taken))

    def _take(self, rows: list[NewRow], broken: list[BrokenFile], finished: int | None = None) -> None:
        self._store.write(self._model, rows, broken)
        embedded = sum(row.vector is not None for row in rows)
        self._embedded += embedded
        self._placed += len(rows) - embedded
        self._broken.extend(broken)
        self._advance(len(rows) + len(broken) if finished is None else finished)

    @staticmethod
    def _embedded_from(good: list[int], broken: list[int]) -> int:
        return min(good + broken)

    def _unknown_files(self, roots: Sequence[str]) -> Iterator[SeenFile]:
        for root in roots:
            for file in find_photos(root):
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

    def _opened(self, files: Iterator[SeenFile]) -> Iterator[_NamedBytes]:
        for file in files:
            try:
                if is_video(file.path) and has_ffmpeg():
                    yield from self._frames(file)
                else:
                    yield from self._unless_embedded(file, self._read(file))
            except OSError as error:
                self._store_broken(file, f"{file.path} cannot be read: {error.strerror or error}")
            except InvalidImage as error:
                self._store_broken(file, str(error))

    def _frames(self, video: SeenFile) -> Iterator[_NamedBytes]:
        if not is_regular(video.path):
            raise OSError(0, "it is not a regular file")
        old = list(self._store.paths_under(video.path))
        new: set[str] = set()
        waiting = 0
        for frame in key_frames(video.path):
            new.add(frame.path)
            # The first frame must not be stored before the others, so it waits with them, known or not.
            for photo in self._unless_embedded(replace(video, path=frame.path), frame, again=waiting > 0):
                waiting += 1
                yield photo
        self._store.forget_files([path for path in old if path not in new])
        self._advance(1)

    def _unless_embedded(
        self, file: SeenFile, data: bytes | Frame, again: bool = False
    ) -> Iterator[_NamedBytes]:
        seconds = data.seconds if isinstance(data, Frame) else None
        content = data.data if isinstance(data, Frame) else data
        digest = hashlib.blake2b(content, digest_size=20).digest()
        if self._store.has_vector(self._model, digest) and not (again and seconds == 0):
            self._store.write(self._model, [NewRow(digest=digest, vector=None, file=file)])
            self._placed += 1
            self._advance(seconds is None)
            return
        facts = read_facts(content)
        self._waiting.append(_Read(file=file, digest=digest, facts=facts, seconds=seconds))
        yield _NamedBytes(content, file.path)

    @staticmethod
    def _read(file: SeenFile) -> bytes:
        if file.size >= 0 and not is_regular(file.path):
            raise OSError(0, "it is not a regular file")
        with open(file.path, "rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)

    def _store_broken(self, file: SeenFile, reason: str) -> None:
        broken = BrokenFile(file=file, reason=reason)
        self._store.write(self._model, [], [broken])
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
        for path in self._store.paths_under(root):
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
