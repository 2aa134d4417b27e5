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
from siglip2.evals.registry import all_tasks
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import Context
from siglip2.evals.tasks.retrieval import Retrieval
from siglip2.evals.tasks.zero_shot import ZeroShotClassification
from siglip2.prompts import label_prompts, resolve_templates


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
        found["evaluation / images and texts alone"] = found["evaluation"] / (
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
        if isinstance(task, Retrieval):
            sets = [task.read(context, task.data[0], language) for language in task.languages]
            images, texts = sets[0].images, [text for each in sets for text in each.captions]
        else:
            assert isinstance(task, ZeroShotClassification)
            labelled = task.load(context)
            templates = resolve_templates(protocol.templates)
            images = labelled.images
            texts = [text for label in task.names(labelled) for text in label_prompts(label, templates)]
        encoded, texts = [image.read() for image in images], list(dict.fromkeys(texts))
        started = time.perf_counter()
        encoder.embed_images(encoded)
        found["images alone"] = time.perf_counter() - started
        started = time.perf_counter()
        encoder.embed_texts(texts)
        found["texts alone"] = time.perf_counter() - started
        started = time.perf_counter()
        run_tasks([task], context, Path(folder) / "out", again=True)
        found["evaluation"] = time.perf_counter() - started
        for other in others:
            started = time.perf_counter()
            run_tasks([all_tasks()[other]], context, Path(folder) / "out", again=True)
            found[other] = time.perf_counter() - started
        cache.close()
    return found


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
