"""Inference on a processor: `transformers`, ONNX Runtime, torch in bfloat16 and siglip2 on the same weights.

    python benchmarks/inference.py            # some 40 minutes on two cores; writes docs/benchmarks.md
    python benchmarks/inference.py --quick    # fewer starts and rounds, writes nothing unless --write

The weights are random, in the full size of B/16-256, so nothing is downloaded. Every contender runs in
processes of its own (`inference_workers.py`): fresh ones for the time and the memory from nothing to a first
answer, one a round for the speed of the image tower, one a round for photographs of 12 megapixels from disk.
In a round every contender and the bare matrix products come in turn, and of each the fastest round counts:
a machine that others share is slow for minutes at a time. Such a machine can also change its speed between
two processes, so the tower and the bare products run in turns in one process too, and the median pair counts.
This process imports no contender: a library that two processes map would count as neither's own memory.
Needs the extras `dev` and `int8`, and `onnxruntime`, `onnx` and `onnxscript`.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import inference_files as files
import inference_report as report

from siglip2.weights.hf import read_hf

HERE = Path(__file__).resolve().parent
OURS = ("siglip2", "siglip2-int8")
CONTENDERS = ("transformers", "onnxruntime", "torch-bf16", *OURS)
DISTRIBUTIONS = ("siglip2", "openvino", "nncf", "torch", "transformers", "onnxruntime", "pillow", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer starts and rounds, nothing written")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md after --quick too")
    parser.add_argument("--folder", type=Path, help="keep weights and exports here for another run")
    parser.add_argument("--tokenizer", type=Path, default=files.default_tokenizer())
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--note", default="", help="a sentence about this run, kept in the report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(arguments, arguments.folder or Path(temporary))
    print(report.markdown(results))
    if arguments.write or not arguments.quick:
        report.write(results, HERE.parent)


def measure(arguments: argparse.Namespace, folder: Path) -> dict:
    """Everything, as one JSON object."""
    files.make_weights(folder, arguments.tokenizer)
    files.make_photos(folder / "photos", 8)
    results: dict = {
        "date": datetime.date.today().isoformat(),
        "note": arguments.note,
        "load_before": round(os.getloadavg()[0], 2),
        "machine": work("machine", "facts", folder),
        "versions": versions(),
        "towers_mb": towers_mb(folder),
        "contenders": {},
    }
    for name in arguments.only:
        try:
            prepare(name, folder)
            results["contenders"][name] = one_contender(name, folder, arguments.quick)
        except subprocess.CalledProcessError as error:
            results["contenders"][name] = {"error": error.stderr.strip().splitlines()[-1]}
        print(name, json.dumps(results["contenders"][name]), file=sys.stderr, flush=True)
    working = [name for name in arguments.only if "error" not in results["contenders"][name]]
    speeds: list[dict] = []
    disk: list[dict] = []
    pairs: dict[str, dict] = {name: {} for name in OURS}
    for number in range(2 if arguments.quick else 8):
        speeds.append({name: work(name, "speed", folder) for name in [*working, "matmul"]})
        if number % 2 == 0:
            disk.append({name: work(name, "disk", folder) for name in working})
        for name in (each for each in OURS if each in working):
            for key, seconds in work(name, "turns", folder).items():
                pairs[name].setdefault(key, []).extend(seconds)
        print(json.dumps([speeds[-1], disk[-1]]), file=sys.stderr, flush=True)
    for name in working:
        results["contenders"][name]["images_per_s"] = best(speeds, name, max)
        results["contenders"][name]["disk"] = best(disk, name, max)
    results["matmul"] = best(speeds, "matmul", min)
    results["rounds"] = {"speed": speeds, "disk": disk}
    results["turns"] = pairs
    return results


def best(rounds: list[dict], name: str, choose: Callable) -> dict:
    """Of every figure of a contender, the best round's."""
    return {key: choose(each[name][key] for each in rounds) for key in rounds[0][name]}


def prepare(name: str, folder: Path) -> None:
    """What a contender makes once, not counted."""
    if name == "onnxruntime" and not (folder / "text.onnx").exists():
        work(name, "export", folder)
    if name == "siglip2-int8":
        work(name, "quantize", folder)


def one_contender(name: str, folder: Path, quick: bool) -> dict:
    cold = [work(name, "cold", folder) for _ in range(2 if quick else 5)]
    both = {"both_towers_mb": work(name, "both", folder)["unique_mb"]} if name in OURS else {}
    return both | {
        # The first start reads the files from the disk; the fastest has them in the page cache.
        "cold_s": min(each["seconds"] for each in cold),
        "anonymous_mb": min(each["anonymous_mb"] for each in cold),
        "unique_mb": min(each["unique_mb"] for each in cold),
    }


def work(name: str, task: str, folder: Path) -> dict:
    """Run one task of one contender in a fresh process."""
    command = [sys.executable, str(HERE / "inference_workers.py"), name, task, str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def towers_mb(folder: Path) -> int:
    """What both towers weigh in bfloat16, without the token embedding, which stays in its file."""
    tensors = read_hf(folder).tensors
    numbers = sum(tensor.bits.size for name, tensor in tensors.items() if "token_embedding" not in name)
    return numbers * 2 // 2**20


def versions() -> dict:
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    main()
