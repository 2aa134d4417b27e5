"""Queries over many vectors: exact scan, this project's index, and faiss, on the same vectors.

    python benchmarks/search.py --rows 100000 --dim 768 --kind clustered

Needs the extra `siglip2[search]`, and faiss-cpu for its line. Prints one JSON object a line.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from siglip2.search.hnsw import CONNECTIVITY, EXPANSION_ADD, HnswIndex
from siglip2.search.matrix import CopyState
from siglip2.search.query import best


def make_vectors(rows: int, dim: int, kind: str, seed: int) -> np.ndarray:
    """Unit vectors; clustered ones lie around one centre for every hundred of them."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dim)).astype(np.float32)
    if kind == "clustered":
        centres = rng.normal(size=(max(rows // 100, 1), dim)).astype(np.float32)
        vectors = centres[rng.integers(len(centres), size=rows)] + 0.7 * vectors
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(
    name: str, search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, exact: list[set]
) -> dict:
    """Milliseconds of single queries, and recall@10."""
    times, shares = [], []
    search(queries[0])
    for query, right in zip(queries, exact, strict=True):
        began = time.perf_counter()
        found = search(query)
        times.append(1000 * (time.perf_counter() - began))
        shares.append(len(right & set(found[:10].tolist())) / 10)
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "name": name,
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "recall@10": np.mean(shares).round(4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kind", choices=["clustered", "random"], default="clustered")
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--skip-faiss", action="store_true")
    arguments = parser.parse_args()
    shown = {"rows": arguments.rows, "dim": arguments.dim, "kind": arguments.kind, "cores": os.cpu_count()}

    everything = make_vectors(arguments.rows + arguments.queries, arguments.dim, arguments.kind, seed=0)
    vectors, queries = everything[: arguments.rows], everything[arguments.rows :]
    exact = [set(best(vectors @ query, 10).tolist()) for query in queries]
    print(json.dumps({**measure("exact scan", lambda q: best(vectors @ q, 10), queries, exact), **shown}))

    with tempfile.TemporaryDirectory() as folder:
        index = HnswIndex(Path(folder) / "index")
        state = CopyState(collection="benchmark", count=len(vectors), number=len(vectors), removed=0)
        began = time.perf_counter()
        index.update(state, vectors)
        build = {"build_s": round(time.perf_counter() - began, 1)}
        quality = index.tune(vectors, arguments.recall)
        disk = {"disk_mb": round((Path(folder) / "index.usearch").stat().st_size / 1e6)}

        def search(query: np.ndarray) -> np.ndarray:
            found = index.search(query, 10, quality.expansion)
            return found[best(vectors[found] @ query, 10)]

        line = measure("siglip2 index", search, queries, exact)
        print(json.dumps({**line, **build, **disk, "expansion": quality.expansion, **shown}), flush=True)

    if not arguments.skip_faiss:
        import faiss

        hnsw = faiss.IndexHNSWFlat(arguments.dim, CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efConstruction = EXPANSION_ADD
        hnsw.hnsw.efSearch = quality.expansion
        began = time.perf_counter()
        hnsw.add(vectors)  # pyright: ignore[reportCallIssue]
        build = {"build_s": round(time.perf_counter() - began, 1)}
        line = measure("faiss HNSW", lambda q: hnsw.search(q[None], 10)[1][0], queries, exact)  # pyright: ignore
        print(json.dumps({**line, **build, "expansion": quality.expansion, **shown}))


if __name__ == "__main__":
    main()
