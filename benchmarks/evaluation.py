"""What an evaluation costs beside embedding its images alone, and what a second task on them costs.

    python benchmarks/evaluation.py --data DATA [--model nano] [--templates plain] [--write]

In one run on one model: the images of a task through `Encoder.embed_images`; the task with an empty cache;
other tasks on the same images. Prompts and captions are shown apart: they cost what texts cost.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import tyro

import siglip2
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.protocol import Protocol, with_encoder
from siglip2.evals.readers import flickr8k
from siglip2.evals.registry import all_tasks
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import Context


def main(data: Path, model: str = "nano", templates: str = "plain", rounds: int = 3) -> None:
    """Measure a model.

    Args:
        data: folder of the data sets.
        model: what to measure.
        templates: prompts of a class.
        rounds: the fastest of so many counts.
    """
    encoder = siglip2.load(model)
    protocol = with_encoder(Protocol(templates=templates), encoder)
    results: dict[str, dict[str, float]] = {}
    for name, seconds_tasks in {
        "tiny_imagenet": ("tiny_imagenet_representation_bias",),
        "flickr8k": ("flickr8k_gender",),
    }.items():
        runs = [_round(encoder, data, protocol, name, seconds_tasks) for _ in range(rounds)]
        results[name] = {key: min(run[key] for run in runs) for key in runs[0]}
        found = results[name]
        found["evaluation / images alone"] = found["evaluation"] / (
            found["images alone"] + found["texts alone"]
        )
        for other in seconds_tasks:
            found[f"{other} / evaluation"] = found[other] / found["evaluation"]
    print(json.dumps(results, indent=1))


def _round(encoder, data: Path, protocol: Protocol, name: str, others: tuple[str, ...]) -> dict[str, float]:
    found = {}
    task = all_tasks()[name]
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(encoder, Path(folder) / "cache")
        context = Context(encoder=encoder, data=data, protocol=protocol, cache=cache)
        if name == "flickr8k":
            images = flickr8k(context, task.data[0], "en").images
        else:
            images = task.load(context).images  # pyright: ignore[reportAttributeAccessIssue]
        encoded = [image.read() for image in images]
        started = time.perf_counter()
        encoder.embed_images(encoded)
        found["images alone"] = time.perf_counter() - started
        started = time.perf_counter()
        run_tasks([task], context, Path(folder) / "out", again=True)
        found["evaluation"] = time.perf_counter() - started
        rows = cache._database.execute("SELECT count(*) FROM texts").fetchone()[0]
        started = time.perf_counter()
        encoder.embed_texts([f"a photo of thing number {index}" for index in range(rows)])
        found["texts alone"] = time.perf_counter() - started
        for other in others:
            started = time.perf_counter()
            run_tasks([all_tasks()[other]], context, Path(folder) / "out", again=True)
            found[other] = time.perf_counter() - started
        cache.close()
    return found


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
