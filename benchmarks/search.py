"""Search: photos into a collection, and queries over many vectors, beside what others do.

    python benchmarks/search.py --rows 100000 1000000 --write

Photos are made at run time from the research data's photographs, weights of B/16-256 are random. Vectors
are clustered (a centre for every hundred) or random; the queries are further vectors of the same kind, half
of them to find the search width that reaches the recall, the other half to measure. Every engine builds in
one process and answers in a fresh one. With `--folder` what was built stays there, and a later run goes on:
`--stages build --slice 200` builds for some 200 seconds, `--stages ask` measures what is built, so that only
that needs a quiet machine. Building is given in processor seconds for the same reason.

Needs the extras `search` and `benchmark`; faiss-cpu, lancedb, pymilvus with milvus-lite where they are
installed. `--write` puts the results into docs/benchmarks.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import inference_files
import numpy as np
import search_report as report
from processor import processor_name

HERE = Path(__file__).resolve().parent
ENGINES = ("siglip2", "siglip2 exact", "faiss", "lancedb", "milvus-lite")
WAYS = ("siglip2", "rclip's way", "clip-retrieval's way")
PACKAGES = ("siglip2", "faiss-cpu", "lancedb", "milvus-lite", "pymilvus", "openvino", "torch")
PACKAGES += ("transformers", "pillow", "numpy")
CHUNK = 50_000


def make_vectors(folder: Path, rows: int, queries: int, dim: int, kind: str, seed: int = 0) -> None:
    """`vectors.npy` (N, E), `queries.npy` (Q, E) and `exact.npy` (Q, 10), written piece by piece."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(rows // 100, 1), dim)).astype(np.float32)

    def some(count: int) -> np.ndarray:
        part = rng.standard_normal((count, dim), np.float32)
        if kind == "clustered":
            part = centres[rng.integers(len(centres), size=count)] + 0.7 * part
        return part / np.linalg.norm(part, axis=1, keepdims=True)

    asked = some(queries)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, dim))
    scores, numbers = np.zeros((queries, 0), np.float32), np.zeros((queries, 0), np.int64)
    for start in range(0, rows, CHUNK):
        part = vectors[start : start + CHUNK] = some(min(CHUNK, rows - start))
        here = asked @ part.T
        kept = np.argpartition(-here, 9, axis=1)[:, :10]
        scores = np.concatenate([scores, np.take_along_axis(here, kept, 1)], 1)
        numbers = np.concatenate([numbers, start + kept], 1)
        order = np.argsort(-scores, axis=1)[:, :10]
        scores, numbers = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
    vectors.flush()
    np.save(folder / "queries.npy", asked)
    np.save(folder / "exact.npy", numbers)


def ask_engines(arguments: argparse.Namespace, rows: int, kind: str, folder: Path) -> list[dict[str, Any]]:
    data = folder / f"{kind}-{rows}"
    data.mkdir(exist_ok=True)
    if not (data / "exact.npy").exists():
        make_vectors(data, rows, 2 * arguments.queries, arguments.dim, kind)
    results = []
    for name in arguments.engines:
        # Exact search asks the same collection.
        place = data / name.removesuffix(" exact")
        tail = [str(place), str(data), str(arguments.threads), str(arguments.recall)]
        line: dict[str, Any] = {"engine": name, "rows": rows, "kind": kind}
        for stage in arguments.stages:
            slice_s = arguments.slice if stage == "build" else 0
            line |= work(HERE / "search_engines.py", [name, stage, *tail, str(slice_s)], arguments)
            if "error" in line or not line.get("finished", True):
                break
        print(json.dumps(line), flush=True)
        results.append(line)
        if not arguments.folder:
            shutil.rmtree(place, ignore_errors=True)
    if not arguments.folder:
        shutil.rmtree(data)
    return results


def index_photos(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import search_photos

    inference_files.make_weights(folder / "model", inference_files.default_tokenizer())
    if not (folder / "photos").exists():
        search_photos.make_photos(arguments.sources, folder / "photos", arguments.photos)
    results: dict[str, Any] = {"count": arguments.photos}
    for way in WAYS:
        place = Path(tempfile.mkdtemp(dir=folder)) / "collection"
        tail = [str(folder / "model"), str(folder / "photos"), str(place)]
        results[way] = work(HERE / "search_photos.py", [way, *tail, str(arguments.threads)], arguments)
        shutil.rmtree(place.parent)
        print(way, json.dumps(results[way]), flush=True)
    return results


def work(program: Path, tail: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one stage in a fresh process."""
    threads = str(arguments.threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS")
    environment = os.environ | dict.fromkeys(names, threads) | {"HF_HUB_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            [sys.executable, str(program), *tail],
            capture_output=True,
            text=True,
            env=environment,
            timeout=arguments.patience,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {arguments.patience} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    shared = Path(os.environ.get("SIGLIP2_SHARED", HERE.parent.parent / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000], help="none leaves queries out")
    parser.add_argument(
        "--kinds", nargs="+", default=["clustered", "random"], choices=["clustered", "random"]
    )
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=200, help="measured; as many again tune the width")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=ENGINES)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--photos", type=int, default=32, help="0 leaves them out")
    parser.add_argument("--sources", type=Path, default=shared / "data" / "photos")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--patience", type=float, default=3600, help="seconds for one stage of one engine")
    parser.add_argument("--folder", type=Path, help="where vectors and indexes are made and kept")
    parser.add_argument("--stages", nargs="+", default=["build", "ask"], choices=["build", "ask"])
    parser.add_argument("--slice", type=float, default=0, help="seconds after which a build pauses; 0: never")
    parser.add_argument("--note", default="", help="a sentence about this run, kept in the report")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "note": arguments.note,
        "machine": machine() | {"threads": arguments.threads},
        "versions": versions(),
        "queries": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.photos:
            results["photos"] = index_photos(arguments, folder)
        for rows in arguments.rows:
            for kind in arguments.kinds:
                results["queries"].extend(ask_engines(arguments, rows, kind, folder))
    if "ask" not in arguments.stages:
        return
    print(report.markdown(results))
    if arguments.write:
        report.write(results, HERE.parent)


if __name__ == "__main__":
    main()
