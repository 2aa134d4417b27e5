"""Photos embedded on many machines by Ray Data, into the collection of this one. Needs `siglip2[ray]`.

The machines read the files themselves, so they have to see them under the same paths, and load the model by
the name that the collection knows. Ray starts work again that was on a machine that died; rows are written
here as they come, so a run that is killed goes on where it was.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from siglip2.encoder import load
from siglip2.errors import InvalidImage, InvalidInput, Siglip2Error
from siglip2.inputs.sources import read_source
from siglip2.search.decoder_process import content_digest
from siglip2.search.photo_facts import read_facts
from siglip2.search.rows import NO_FACTS, BrokenFile, NewRow, PhotoFacts, SeenFile, StoredModel
from siglip2.search.store import Store
from siglip2.search.video import Frame, has_ffmpeg, is_video, key_frames

Batch: TypeAlias = dict[str, Any]

WINDOW = 50_000
"""Files of one Ray dataset: what is known of the input at a time."""

BATCH = 64
"""Files that an actor takes at once; lost and begun again with its machine."""


class Embedder:
    """An actor: reads, hashes and embeds files. What the collection has by content is not embedded again."""

    def __init__(self, model_id: str, fingerprint: str, known: Any):
        """Load the model.

        Args:
            model_id: what `siglip2.load` takes.
            fingerprint: that it must have.
            known: reference to sorted first halves (K,) uint64 of the digests that have a vector.

        Raises:
            InvalidInput: the name leads to another model on this machine.
        """
        import ray

        self._encoder = load(model_id)
        if self._encoder.fingerprint != fingerprint:
            raise InvalidInput(f"{model_id} is another model on this machine: {self._encoder.fingerprint}")
        self._known = ray.get(known)

    def __call__(self, batch: Batch) -> Batch:
        """Rows `path`, `size` and `mtime_ns` of files to rows of photos."""
        found: list[tuple[SeenFile, bytes | Frame]] = []
        records: list[Batch] = []
        for path, size, mtime_ns in zip(batch["path"], batch["size"], batch["mtime_ns"], strict=True):
            file = SeenFile(path=os.fsdecode(bytes(path)), size=int(size), mtime_ns=int(mtime_ns))
            try:
                if is_video(file.path) and has_ffmpeg():
                    found.extend((file, frame) for frame in key_frames(file.path))
                else:
                    found.append((file, read_source(file.path, file.path)))
            except InvalidImage as error:
                records.append(self._record(file, reason=str(error)))
        digests = [content_digest(_content(data)) for _, data in found]
        new = [not self._is_known(digest) for digest in digests]
        fresh = [index for index, is_new in enumerate(new) if is_new]
        vectors: dict[int, np.ndarray] = {}
        reasons: dict[int, str] = {}
        for part in self._encoder.stream_images([_content(found[index][1]) for index in fresh]):
            vectors.update(zip((fresh[each] for each in part.indices), part.embeddings, strict=True))
            for broken in part.broken:
                reasons[fresh[broken.index]] = f"{found[fresh[broken.index]][0].path}: {broken.reason}"
        for index, (file, data) in enumerate(found):
            records.append(
                self._record(
                    file,
                    data,
                    digest=digests[index],
                    vector=vectors.get(index),
                    reason=reasons.get(index, ""),
                )
            )
        return {name: [record[name] for record in records] for name in _NAMES}

    def _is_known(self, digest: bytes) -> bool:
        half = np.uint64(int.from_bytes(digest[:8], "big"))
        place = int(np.searchsorted(self._known, half))
        return place < len(self._known) and self._known[place] == half

    def _record(
        self,
        file: SeenFile,
        data: bytes | Frame = b"",
        digest: bytes = b"",
        vector: np.ndarray | None = None,
        reason: str = "",
    ) -> Batch:
        facts = read_facts(_content(data)) if data and not reason else NO_FACTS
        values = (
            os.fsencode(data.path if isinstance(data, Frame) else file.path),
            file.size,
            file.mtime_ns,
            digest,
            json.dumps(asdict(facts)),
            data.seconds if isinstance(data, Frame) else math.nan,
            reason.encode(errors="replace").decode(),
            b"" if vector is None else np.asarray(vector, "<f4").tobytes(),
        )
        return dict(zip(_NAMES, values, strict=True))


_NAMES = ("path", "size", "mtime_ns", "digest", "facts", "seconds", "reason", "vector")


class RayEmbedding:
    """Embeds files on a Ray cluster: an actor with all processors of each machine, or one for each GPU."""

    def __init__(self, address: str, store: Store, model: StoredModel):
        """Connect.

        Args:
            address: of the cluster, `auto`, or `local` for one on this machine.
            store: of the collection.
            model: whose vectors are made.

        Raises:
            Siglip2Error: Ray is missing, or no cluster answers there.
        """
        try:
            import ray
            import ray.data
        except ModuleNotFoundError as error:
            raise Siglip2Error("--ray needs Ray: pip install 'siglip2[ray]' 'ray[data]'") from error
        self._ray, self._model = ray, model
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise Siglip2Error(f"no Ray cluster answers at {address}: {error}") from error
        halves = [int.from_bytes(digest[:8], "big") for digest in store.digests(model)]
        self._known = ray.put(np.sort(np.array(halves, np.uint64)))

    def __call__(self, files: Iterator[SeenFile]) -> Iterator[tuple[list[NewRow], list[BrokenFile]]]:
        """Rows and unusable files, as they come from the cluster; in no order."""
        while window := list(islice(files, WINDOW)):
            yield from self._window(window)

    def _window(self, files: Sequence[SeenFile]) -> Iterator[tuple[list[NewRow], list[BrokenFile]]]:
        ray = self._ray
        items = [
            {"path": os.fsencode(file.path), "size": file.size, "mtime_ns": file.mtime_ns} for file in files
        ]
        processors, gpus, actors = self._shares()
        blocks = max(1, min(math.ceil(len(items) / BATCH), 10_000))
        rows = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
            Embedder,
            fn_constructor_args=(self._model.model_id, self._model.fingerprint, self._known),
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=processors,
            num_gpus=gpus,
        )
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield self._taken(batch.to_pylist())

    def _shares(self) -> tuple[float, float, int]:
        """Processors and GPUs of an actor, and the number of actors."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = int(sum(machine.get("GPU", 0) for machine in machines))
        if gpus:
            return 1, 1, gpus
        processors = [machine["CPU"] for machine in machines if machine.get("CPU", 0) >= 1]
        return (min(processors), 0, len(processors)) if processors else (1, 0, 1)

    def _taken(self, records: Sequence[Batch]) -> tuple[list[NewRow], list[BrokenFile]]:
        rows: list[NewRow] = []
        broken: list[BrokenFile] = []
        for record in records:
            path = os.fsdecode(record["path"])
            file = SeenFile(path=path, size=record["size"], mtime_ns=record["mtime_ns"])
            if record["reason"]:
                # What was hashed could be read.
                lasting = bool(record["digest"])
                broken.append(BrokenFile(file=file, reason=record["reason"], lasting=lasting))
                continue
            seconds = record["seconds"]
            rows.append(
                NewRow(
                    digest=record["digest"],
                    vector=np.frombuffer(record["vector"], "<f4") if record["vector"] else None,
                    file=file,
                    facts=PhotoFacts(**json.loads(record["facts"])),
                    columns={} if math.isnan(seconds) else {"seconds": seconds},
                )
            )
        return rows, broken


def _content(data: bytes | Frame) -> bytes:
    return data.data if isinstance(data, Frame) else data
