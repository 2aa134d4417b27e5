"""What an evaluation costs beside embedding its images alone, and what a second task on them costs.

    python benchmarks/evaluation.py --data DATA [--model nano] [--templates plain] [--write]

In one run on one model: the images of a task, read and put through `Encoder.embed_images`; the task with an
empty cache; other tasks on the same images. Prompts and captions are shown apart: they cost what texts cost.
Times are wall-clock seconds, and processor seconds, which other work on the machine disturbs less.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
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


def main(
    data: Path, model: str = "nano", templates: str = "plain", rounds: int = 3, limit: int | None = None
) -> None:
    """Measure a model.

    Args:
        data: folder of the data sets.
        model: what to measure.
        templates: prompts of a class.
        rounds: the fastest of so many counts.
        limit: measure on so many images only, for a large model.
    """
    encoder = siglip2.load(model)
    protocol = with_encoder(Protocol(templates=templates), encoder)
    results: dict[str, dict[str, float]] = {}
    for name, seconds_tasks in {
        "tiny_imagenet": ("tiny_imagenet_representation_bias",),
        "flickr8k": ("flickr8k_gender",),
    }.items():
        runs = [_round(encoder, data, protocol, name, seconds_tasks, limit) for _ in range(rounds)]
        results[name] = {key: min(run[key] for run in runs) for key in runs[0]}
        found = results[name]
        for kind in ("", ", processor"):
            alone = found[f"images alone{kind}"] + found[f"texts alone{kind}"]
            found[f"evaluation / images and texts alone{kind}"] = found[f"evaluation{kind}"] / alone
        for other in seconds_tasks:
            found[f"{other} / evaluation"] = found[other] / found["evaluation"]
    print(json.dumps(results, indent=1))


def _round(
    encoder, data: Path, protocol: Protocol, name: str, others: tuple[str, ...], limit: int | None
) -> dict[str, float]:
    found = {}
    task = all_tasks()[name]
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(encoder, Path(folder) / "cache")
        context = Context(encoder=encoder, data=data, protocol=protocol, cache=cache, limit=limit)
        if isinstance(task, Retrieval):
            sets = [task._captioned(context, language) for language in task.languages]
            # Languages may have captions of different images.
            images = list({image.key: image for each in sets for image in each.images}.values())
            texts = [text for each in sets for text in each.captions]
        else:
            assert isinstance(task, ZeroShotClassification)
            labelled = task.load(context)
            templates = resolve_templates(protocol.templates)
            images = [labelled.images[index] for index in context.limited(len(labelled.images))]
            texts = [text for label in task.names(labelled) for text in label_prompts(label, templates)]
        texts = list(dict.fromkeys(texts))
        _timed(found, "images alone", lambda: encoder.embed_images([image.read() for image in images]))
        _timed(found, "texts alone", lambda: encoder.embed_texts(texts))
        out = Path(folder) / "out"
        _timed(found, "evaluation", lambda: run_tasks([task], context, out, again=True))
        for other in others:
            _timed(found, other, lambda name=other: run_tasks([all_tasks()[name]], context, out, again=True))
        cache.close()
    return found


def _timed(found: dict[str, float], name: str, work: Callable[[], object]) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    found[name] = time.perf_counter() - wall
    found[f"{name}, processor"] = time.process_time() - processor


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
