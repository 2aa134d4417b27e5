"""The service under load on loopback, beside the bare towers and beside what others use.

One image a request, from a load generator in a process of its own that shares the cores. Every part stops by
itself and is saved at once, and `--only` runs parts of it. The parts come in turn, in rounds of some four
minutes, and the best of each counts: a machine that others share is slow for minutes at a time.

    python benchmarks/serving.py --folder weights --infinity PATH/infinity_emb --write
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from inference_files import default_tokenizer, make_weights
from PIL import Image
from serving_contenders import Contender, contenders, request_of, running
from serving_report import read, save, write

import siglip2
from siglip2.inputs.batch import ImageBatch

PORT = 18931
LOAD = Path(__file__).with_name("serving_load.py")
LABELS = [f"a photo of thing number {number}" for number in range(1000)]
CLIENTS = 12


def photos(count: int, side: int) -> list[bytes]:
    """JPEG files, smooth with some detail, of about the size of photographs of that many pixels."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse, fine = (
            Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
            for cells in (16, side // 4)
        )
        file = io.BytesIO()
        Image.blend(coarse, fine, 0.3).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def busy_seconds() -> float:
    """Processor seconds that the whole machine has worked since it started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, hard, soft, steal = map(int, fields[:8])
    return (user + nice + system + hard + soft + steal) / os.sysconf("SC_CLK_TCK")


def used_seconds(process: int) -> float:
    """Processor seconds of a process and its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> int:
    """Memory of a process that no file backs, in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024


def eight_pictures() -> ImageBatch:
    """Of noise, as the towers take them."""
    patches = np.random.default_rng(0).integers(0, 256, (8, 256, 768), np.uint8)
    return ImageBatch(patches=patches, grids=np.full((8, 2), 16, np.int32))


def repeated(run: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Images done by something that does eight at a time, and the seconds that it took."""
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        run()
        done += 8
    return done, elapsed


def bare(model: Path, files: list[bytes], seconds: float) -> dict:
    """Images a second of the towers alone, and of files through `embed_images`, in batches of eight."""
    encoder, batch = siglip2.load(model), eight_pictures()
    rates = {}
    for name, run in (
        ("runtime", lambda: encoder.runtime.encode_images(batch)),
        ("encoder", lambda: encoder.embed_images(files[:8], batch_size=8)),
    ):
        for _ in range(3):
            run()
        done, elapsed = repeated(run, seconds)
        rates[name] = done / elapsed
    return {**rates, "precision": encoder.runtime.precision}


class Meter:
    """Sends a load and measures: rates, latencies, and who used the processor."""

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, process: subprocess.Popen, requests: list[bytes], **plan: float) -> dict:
        """One load; numbers over the answers with status 200 unless named otherwise."""
        names = []
        for number, request in enumerate(requests):
            path = self.folder / f"request{number}"
            path.write_bytes(request)
            names.append(str(path))
        told = json.dumps({"port": PORT, "requests": names, **plan})
        busy, used = busy_seconds(), used_seconds(process.pid)
        done = subprocess.run(
            [sys.executable, str(LOAD)], input=told, capture_output=True, text=True, check=True
        )
        said = json.loads(done.stdout)
        busy, used = busy_seconds() - busy, used_seconds(process.pid) - used
        good = [(begin, end) for begin, end, status in said["answers"] if status == 200]
        seconds = max([end for _, end in good], default=1.0)
        times = np.array([end - begin for begin, end in good] or [0.0]) * 1000
        return {
            "answered": len(good),
            "rate": len(good) / seconds,
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "statuses": said["statuses"],
            "skipped": said["skipped"],
            "broken": said["broken"],
            "seconds": seconds,
            "client_cores": said["cpu_seconds"] / seconds,
            "service_cores": used / seconds,
            "other_cores": (busy - used - said["cpu_seconds"]) / seconds,
            "answers": said["answers"],
        }


def throughput(meter: Meter, contender: Contender, files: list[str], seconds: float) -> dict:
    """Closed loop, after a second of warming up."""
    with running(contender, PORT, meter.folder / "log") as (process, key):
        requests = [request_of(contender.path, contender.body(file), key) for file in files]
        meter.load(process, requests, clients=4, seconds=2)
        result = meter.load(process, requests, clients=CLIENTS, seconds=seconds)
        del result["answers"]
        return result


def by_turns(
    meter: Meter, process: subprocess.Popen, requests: list[bytes], model: Path, turns: int = 8
) -> dict:
    """Images and seconds of the service and of the bare towers, four seconds each in turn.

    Both meet the machine as it is just then, which changes by a factor of two from second to second.
    """
    encoder, batch = siglip2.load(model), eight_pictures()
    for _ in range(3):
        encoder.runtime.encode_images(batch)
    served, beside = np.zeros(2), np.zeros(2)
    for _ in range(turns):
        load = meter.load(process, requests, clients=CLIENTS, seconds=4)
        served += load["answered"], load["seconds"]
        beside += repeated(lambda: encoder.runtime.encode_images(batch), 4)
    return {"served": served.tolist(), "bare": beside.tolist()}


def under_load(meter: Meter, ours: Contender, files: list[str], seconds: float, model: Path) -> dict:
    """Throughput, latency at 80 %, the cost of a thousand labels, and four times too much."""
    with running(ours, PORT, meter.folder / "log") as (process, key):
        one = [request_of(ours.path, ours.body(file), key) for file in files]
        many = [
            request_of("/v1/classify", {"input": file, "labels": LABELS, "top_k": 5}, key) for file in files
        ]
        meter.load(process, one, clients=4, seconds=2)
        full = meter.load(process, one, clients=CLIENTS, seconds=seconds)
        turns = by_turns(meter, process, one, model)
        capacity = full["rate"]
        calm = meter.load(process, one, clients=64, seconds=1.5 * seconds, rate=0.8 * capacity)
        meter.load(process, many[:1], clients=1, seconds=12)  # the labels' first time, which may take long
        alone = meter.load(process, one, clients=1, seconds=0.5 * seconds)
        labels = meter.load(process, many, clients=1, seconds=0.5 * seconds)
        rush = overload(meter, process, one, capacity, seconds)
    for result in (full, calm, alone, labels):
        del result["answers"]
    return {"full": full, "turns": turns, "calm": calm, "alone": alone, "labels": labels, **rush}


def better(kept: dict | None, found: dict) -> dict:
    """Of two rounds of one part the better figures, load by load."""
    if kept is None:
        return found
    if "runtime" in found:
        return {**found, **{name: max(kept[name], found[name]) for name in ("runtime", "encoder")}}
    if "full" not in found:
        return max(kept, found, key=lambda load: load["rate"])
    return {
        **found,
        "full": max(kept["full"], found["full"], key=lambda load: load["rate"]),
        "turns": {
            who: [sum(both) for both in zip(kept["turns"][who], found["turns"][who], strict=True)]
            for who in ("served", "bare")
        },
        "calm": min(kept["calm"], found["calm"], key=lambda load: load["p99_ms"] / load["p50_ms"]),
        "alone": min(kept["alone"], found["alone"], key=lambda load: load["p50_ms"]),
        "labels": min(kept["labels"], found["labels"], key=lambda load: load["p50_ms"]),
    }


def overload(
    meter: Meter, process: subprocess.Popen, requests: list[bytes], capacity: float, seconds: float
) -> dict:
    """Four times what it can do, then at once half of it, with its memory watched."""
    memory: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            memory.append(resident_mb(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    rush = meter.load(
        process, requests, clients=400, seconds=seconds, rate=4 * capacity, then=0.5 * capacity, more=5
    )
    over.set()
    watcher.join()
    answers = rush.pop("answers")
    after = sorted(
        (begin - seconds, end - begin, status) for begin, end, status in answers if begin > seconds
    )
    slow = [begin for begin, took, status in after if status != 200 or took > 4 / capacity + 0.1]
    third = len(memory) // 3
    return {
        "rush": rush,
        "served_in_rush": sum(s == 200 and e < seconds for _, e, s in answers) / seconds,
        "slowest_in_rush_ms": 1000 * max(e - b for b, e, s in answers if s == 200),
        "recovered_after_s": max(slow, default=0.0),
        "memory_mb": [max(memory[:third]), max(memory[-third:])],
    }


def main() -> None:
    """Measure, print, and with `--write` write a section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("serving-benchmark"), help="of weights")
    parser.add_argument("--infinity", type=Path, help="program infinity_emb of another environment")
    parser.add_argument(
        "--usual", type=Path, default=Path(sys.executable), help="a Python with fastapi, torch, transformers"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of each load")
    parser.add_argument("--side", type=int, default=384, help="pixels of the photos")
    parser.add_argument("--note", default="", help="what a reader of the figures has to know")
    parser.add_argument("--rounds", type=int, default=2, help="of all parts")
    parser.add_argument("--only", nargs="*", default=[], help="stages to run: bare, ours, open, ...")
    parser.add_argument("--prepare", action="store_true", help="make the weights and stop")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    make_weights(options.folder, default_tokenizer())
    if options.prepare:
        return
    files = photos(16, options.side)
    texts = [base64.b64encode(file).decode() for file in files]
    repository = Path(__file__).resolve().parent.parent
    results = read(repository)
    results["kilobytes"] = round(sum(map(len, files)) / len(files) / 1024)
    results |= {"side": options.side, "note": options.note}
    with tempfile.TemporaryDirectory() as scratch:
        meter = Meter(Path(scratch))
        measured: dict[str, dict] = {}
        for turn in range(options.rounds):
            # Accounts of its own: a service prints its first key once.
            home = Path(scratch) / str(turn)
            home.mkdir()
            ours, *others = contenders(options.folder.resolve(), home, options.infinity, options.usual)
            stages: dict[str, Callable[[], dict]] = {
                "bare": lambda: bare(options.folder, files, options.seconds / 3),
                "ours": partial(under_load, meter, ours, texts, options.seconds, options.folder),
                **{
                    each.name: partial(throughput, meter, each, texts, options.seconds / 2) for each in others
                },
            }
            for name, stage in stages.items():
                if options.only and not any(part in name for part in options.only):
                    continue
                print(name, flush=True)
                load_before = round(os.getloadavg()[0], 1)
                measured[name] = better(measured.get(name), {**stage(), "load_before": load_before})
                results.setdefault("stages", {})[name] = measured[name]
                # After each stage: whoever stops the run keeps what there is.
                save(results, repository, options.infinity, options.usual)
    if options.write:
        write(results, repository)


if __name__ == "__main__":
    main()
