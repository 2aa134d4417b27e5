# ruff: noqa: D102
"""One engine, one stage, one process: prints one JSON object. Started by `search.py`."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

K = 10
INSERT = 5000
EXPANSION_ADD = 64
"""Of every graph, with 16 neighbours."""

PART = 100_000
"""Rows after which a build may pause."""

Ask = Callable[[np.ndarray], list[int]]
"""Row numbers of about the ten nearest to a query (E,)."""

TimeLeft = Callable[[], bool]
"""Asked between steps of a build."""


class Engine(Protocol):
    """Builds in one process, answers in another."""

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        """Build on; False if time ran out first."""
        ...

    def widths(self) -> tuple[int, ...]: ...

    def ask(self, folder: Path, width: int, threads: int) -> Ask: ...


class Siglip2:
    """Through `Collection.search_terms`: candidates, exact scores, rows with their paths."""

    mode: Any = "index"

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        from siglip2.search.rows import NewRow, SeenFile
        from siglip2.search.sqlite_store import SqliteStore
        from siglip2.search.vector_search import VectorSearch

        store = SqliteStore(folder / "collection")
        model = store.add_model("made-up", "made-up", vectors.shape[1], 10.0, -10.0)
        search = VectorSearch(folder / "collection", store.id, model)
        while (first := store.count(model)) < len(vectors) and time_left():
            for start in range(first, min(first + PART, len(vectors)), INSERT):
                rows = [
                    NewRow(
                        digest=number.to_bytes(8, "big"),
                        vector=vector,
                        file=SeenFile(path=f"/photos/{number:08}.jpg", size=1, mtime_ns=1),
                    )
                    for number, vector in enumerate(np.asarray(vectors[start : start + INSERT]), start)
                ]
                store.write(model, rows)
            search.optimise(store)
        finished = store.count(model) == len(vectors)
        store.close()
        return finished

    def widths(self) -> tuple[int, ...]:
        return (0,)  # `optimise` has found it, on the collection's own vectors

    def ask(self, folder: Path, width: int, threads: int) -> Ask:
        from siglip2.search.collection import Collection
        from siglip2.search.query import Term

        collection = Collection.open(folder / "collection", create=False)

        def ask(query: np.ndarray) -> list[int]:
            hits = collection.search_terms([Term(query, 1.0, True)], limit=K, mode=self.mode)
            return [int((hit.path or "")[-12:-4]) for hit in hits]

        return ask


class Siglip2Exact(Siglip2):
    """The same collection, comparing with every row."""

    mode = "exact"

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        return (folder / "collection").exists() or super().build(folder, vectors, threads, time_left)


class Faiss:
    """HNSW of flat vectors; no rows, no disk but one file."""

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        import faiss

        faiss.omp_set_num_threads(threads)
        file = folder / "index.faiss"
        index: Any = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EXPANSION_ADD
        if file.exists():
            index = faiss.read_index(str(file))
        while index.ntotal < len(vectors) and time_left():
            index.add(np.ascontiguousarray(vectors[index.ntotal : index.ntotal + 4 * INSERT]))
        faiss.write_index(index, str(file))
        return index.ntotal == len(vectors)

    def widths(self) -> tuple[int, ...]:
        return (32, 64, 128, 256, 512, 1024, 2048, 4096)

    def ask(self, folder: Path, width: int, threads: int) -> Ask:
        import faiss

        faiss.omp_set_num_threads(threads)
        index: Any = faiss.read_index(str(folder / "index.faiss"))
        index.hnsw.efSearch = width
        return lambda query: index.search(query[None], K)[1][0].tolist()


class LanceDb:
    """HNSW over scalar-quantised vectors, refined with the full ones; answers with the path."""

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        import lancedb
        import pyarrow as pa

        database = lancedb.connect(folder / "lance")
        kind = pa.list_(pa.float32(), vectors.shape[1])
        schema = pa.schema([("number", pa.int64()), ("path", pa.string()), ("vector", kind)])

        def batches():
            for start in range(0, len(vectors), INSERT):
                part = np.ascontiguousarray(vectors[start : start + INSERT])
                numbers = range(start, start + len(part))
                flat = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
                paths = [f"/photos/{number:08}.jpg" for number in numbers]
                yield pa.record_batch([pa.array(numbers), pa.array(paths), flat], schema=schema)

        table = database.create_table("rows", batches(), schema=schema)
        index = {"metric": "dot", "index_type": "IVF_HNSW_SQ", "vector_column_name": "vector"}
        table.create_index(**index, m=16, ef_construction=EXPANSION_ADD)
        return True

    def widths(self) -> tuple[int, ...]:
        return (64, 128, 256, 512, 1024, 2048)

    def ask(self, folder: Path, width: int, threads: int) -> Ask:
        import lancedb

        table = lancedb.connect(folder / "lance").open_table("rows")

        def ask(query: np.ndarray) -> list[int]:
            found: Any = table.search(query, vector_column_name="vector")
            asked = found.distance_type("dot").limit(K)
            asked = asked.nprobes(max(1, width // 16)).ef(width).refine_factor(4)
            return asked.select(["number", "path", "_distance"]).to_arrow()["number"].to_pylist()

        return ask


class MilvusLite:
    """Its server on loopback; HNSW; answers with the path."""

    def build(self, folder: Path, vectors: np.ndarray, threads: int, time_left: TimeLeft) -> bool:
        from pymilvus import DataType, MilvusClient

        client: Any = MilvusClient(str(folder / "milvus.db"))
        schema = client.create_schema(auto_id=False)
        schema.add_field("number", DataType.INT64, is_primary=True)
        schema.add_field("path", DataType.VARCHAR, max_length=64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        index = client.prepare_index_params()
        options = {"M": 16, "efConstruction": EXPANSION_ADD}
        index.add_index("vector", index_type="HNSW", metric_type="IP", params=options)
        client.create_collection("photos", schema=schema, index_params=index)
        for start in range(0, len(vectors), 1000):
            part = np.asarray(vectors[start : start + 1000])
            rows = [
                {"number": number, "path": f"/photos/{number:08}.jpg", "vector": vector}
                for number, vector in enumerate(part, start)
            ]
            client.insert("photos", rows)
        client.flush("photos")
        client.load_collection("photos")
        client.close()
        return True

    def widths(self) -> tuple[int, ...]:
        return (32, 64, 128, 256, 512, 1024)

    def ask(self, folder: Path, width: int, threads: int) -> Ask:
        from pymilvus import MilvusClient

        client: Any = MilvusClient(str(folder / "milvus.db"))
        client.load_collection("photos")
        options = {"metric_type": "IP", "params": {"ef": width}}

        def ask(query: np.ndarray) -> list[int]:
            wanted = ["number", "path"]
            found = client.search(
                "photos", data=[query], limit=K, output_fields=wanted, search_params=options
            )
            return [hit["entity"]["number"] for hit in found[0]]

        return ask


ENGINES: dict[str, type[Engine]] = {
    "siglip2": Siglip2,
    "siglip2 exact": Siglip2Exact,
    "faiss": Faiss,
    "lancedb": LanceDb,
    "milvus-lite": MilvusLite,
}


def recall(found: list[list[int]], exact: np.ndarray) -> float:
    """Share of the exact ten nearest (Q, 10) that were found."""
    hits = [len(set(f[:K]) & set(e.tolist())) / K for f, e in zip(found, exact, strict=True)]
    return float(np.mean(hits))


def memory_mb() -> dict[str, int]:
    """Of this process: its own, and the files' pages that it has mapped besides."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {"own": kilobytes["Anonymous"] // 1024, "resident": kilobytes["Rss"] // 1024}


def answer(engine: Engine, folder: Path, data: Path, threads: int, target: float) -> dict[str, Any]:
    """The narrowest width that reaches the target on tuning queries, and times of the others at it."""
    queries, exact = np.load(data / "queries.npy"), np.load(data / "exact.npy")
    half = len(queries) // 2
    ask: Ask | None = None
    width = 0
    for width in engine.widths():
        ask = engine.ask(folder, width, threads)
        if recall([ask(query) for query in queries[:half]], exact[:half]) >= target:
            break
    assert ask is not None
    times, processor, found = [], [], []
    for query in queries[half:]:
        began, cpu = time.perf_counter(), time.process_time()
        found.append(ask(query))
        times.append(1000 * (time.perf_counter() - began))
        processor.append(1000 * (time.process_time() - cpu))
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "cpu_ms": round(float(np.median(processor)), 2),
        "recall@10": round(recall(found, exact[half:]), 4),
        "width": width,
        "memory_mb": memory_mb(),
    }


def build(engine: Engine, folder: Path, data: Path, threads: int, slice_s: float) -> dict[str, Any]:
    """Build, or build on; times add up over the parts."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.with_name(folder.name + ".build.json")
    so_far = json.loads(kept.read_text()) if kept.exists() else {"build_s": 0, "build_cpu_s": 0}
    if so_far.get("finished"):
        return so_far
    vectors = np.load(data / "vectors.npy", mmap_mode="r")
    began, cpu = time.monotonic(), cpu_seconds()
    finished = engine.build(
        folder, vectors, threads, lambda: not slice_s or time.monotonic() - began < slice_s
    )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    result = {
        "build_s": round(so_far["build_s"] + time.monotonic() - began, 1),
        "build_cpu_s": round(so_far["build_cpu_s"] + cpu_seconds() - cpu, 1),
        "disk_mb": size // 10**6,
        "finished": finished,
    }
    kept.write_text(json.dumps(result))
    return result


def cpu_seconds() -> float:
    """Of this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(arguments: list[str]) -> dict[str, Any]:
    name, stage, folder, data, threads, target, slice_s = arguments
    engine = ENGINES[name]()
    if stage == "ask":
        kept = Path(folder + ".build.json")
        built = json.loads(kept.read_text()) if kept.exists() else {}
        return built | answer(engine, Path(folder), Path(data), int(threads), float(target))
    return build(engine, Path(folder), Path(data), int(threads), float(slice_s))


if __name__ == "__main__":
    result = main(sys.argv[1:])
    sys.stdout.flush()
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # servers in threads of some engines would keep the process
