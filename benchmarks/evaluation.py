r"""What an evaluation costs beside embedding its images alone, and what a second task on them costs.

    python benchmarks/evaluation.py --data DATA                            # nano
    python benchmarks/evaluation.py --data DATA --model FOLDER --name "B/16-256, random weights" --limit 500 \
        --precision float32 --tasks tiny_imagenet --rounds 1

In one run on one model: the images of a task, read and put through `Encoder.embed_images`, and its texts
through `Encoder.embed_texts`; the task with an empty cache, and how much of that the image tower took;
another task on the same images. Wall-clock time, the fastest of the rounds. Results are kept in
benchmarks/results/evaluation.json and written into docs/benchmarks.md.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro
from processor import processor_name
from sections import write_section

import siglip2
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.protocol import Protocol, with_encoder
from siglip2.evals.registry import all_tasks
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import Context
from siglip2.evals.tasks.retrieval import Retrieval
from siglip2.evals.tasks.zero_shot import ZeroShotClassification
from siglip2.prompts import label_prompts, resolve_templates
from siglip2.runtime.base import Precision

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results" / "evaluation.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
BEGIN = "<!-- evaluation: written by benchmarks/evaluation.py -->"
END = "<!-- end of evaluation -->"

SECOND = {"tiny_imagenet": "tiny_imagenet_representation_bias", "flickr8k": "flickr8k_gender"}
"""Tasks, and another one on the same images."""


def main(
    data: Path,
    model: str = "nano",
    name: str | None = None,
    precision: Precision = "auto",
    templates: str = "plain",
    rounds: int = 3,
    limit: int | None = None,
    tasks: tuple[str, ...] = tuple(SECOND),
) -> None:
    """Measure a model.

    Args:
        data: folder of the data sets.
        model: what to measure.
        name: what the table calls it.
        precision: of the towers; float32 takes the same time in every round on a machine with neighbours.
        templates: prompts of a class.
        rounds: the fastest of so many counts.
        limit: measure on so many images only, for a large model.
        tasks: which to measure.
    """
    encoder = siglip2.load(model, precision=precision)
    protocol = with_encoder(Protocol(templates=templates), encoder)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for task in tasks:
        runs = [_round(encoder, data, protocol, task, limit) for _ in range(rounds)]
        found = {key: min(run[key] for run in runs) for key in runs[0]}
        found |= {"precision": protocol.precision, "processor": _processor(), "rounds": rounds}
        kept[f"{name or model}, {protocol.precision}: {task}"] = found
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    write_section(PAGE, BEGIN, END, section(kept))
    print(section(kept))


def section(results: dict[str, dict[str, Any]]) -> str:
    """The part of docs/benchmarks.md."""
    lines = [
        "## Evaluation\n",
        "`python benchmarks/evaluation.py --data DATA`, wall-clock seconds, fastest round, quiet machine.\n",
        "| | images alone | texts alone | evaluation | / images | / images and texts | / image tower in it "
        "| second task |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in results.items():
        model, _, task = name.partition(": ")
        images, texts, whole, other = (found[key] for key in ("images", "texts", "evaluation", "second"))
        sizes = f"{found['image_count']:,} images, {found['text_count']:,} texts"
        cells = [f"{seconds:.2f}" for seconds in (images, texts, whole)]
        cells += [f"{whole / images:.2f}", f"{whole / (images + texts):.2f}"]
        cells += [f"{whole / found['in_image_tower']:.3f}" if "in_image_tower" in found else "-"]
        cells += [f"{other / whole:.3f}"]
        lines.append(f"| {model}, {all_tasks()[task].title} ({sizes}) | {' | '.join(cells)} |")
    processors = ", ".join(dict.fromkeys(found["processor"] for found in results.values()))
    lines.append(
        f"\n{processors}. Images alone: read from their tars and embedded. The evaluation embeds images and "
        "texts; the time that the image tower itself took is read in the evaluation, so that a machine whose "
        "speed changes between two runs does not decide. The second task on the same images is given as a "
        "share of the first.\n"
    )
    return "\n".join(lines)


def _round(encoder, data: Path, protocol: Protocol, name: str, limit: int | None) -> dict[str, Any]:
    task = all_tasks()[name]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(encoder, Path(folder) / "cache")

        def fresh() -> Context:
            return Context(encoder=encoder, data=data, protocol=protocol, cache=cache, limit=limit)

        images, texts = _inputs(task, fresh())
        # Towers are compiled by their first use, which is no part of anybody's work here.
        encoder.embed_images([image.read() for image in images[:16]])
        encoder.embed_texts(texts[:64])
        found["image_count"], found["text_count"] = len(images), len(texts)
        # Whoever embeds them reads them first: from their tars, as the evaluation does.
        found["images"] = _seconds(
            lambda: encoder.embed_images([image.read() for image in _inputs(task, fresh())[0]])
        )
        found["texts"] = _seconds(lambda: encoder.embed_texts(texts))
        context, out = fresh(), Path(folder) / "out"
        with _watched(encoder.runtime, "encode_images") as in_images:
            found["evaluation"] = _seconds(lambda: run_tasks([task], context, out, again=True))
        found["in_image_tower"] = sum(in_images)
        other = all_tasks()[SECOND[name]]
        found["second"] = _seconds(lambda: run_tasks([other], context, out, again=True))
        cache.close()
    return found


def _inputs(task, context: Context) -> tuple[list, list[str]]:
    """Every picture and every text that a task embeds, once each."""
    if isinstance(task, Retrieval):
        sets = [task._captioned(context, language) for language in task.languages]
        # Languages may have captions of different images.
        images = list({image.key: image for each in sets for image in each.images}.values())
        texts = [text for each in sets for text in each.captions]
    else:
        assert isinstance(task, ZeroShotClassification)
        labelled = task.load(context)
        templates = resolve_templates(context.protocol.templates)
        images = [labelled.images[index] for index in context.limited(len(labelled.images))]
        names = task.named(labelled).class_names
        texts = [text for name in names for text in label_prompts(name, templates)]
    return images, list(dict.fromkeys(texts))


@contextmanager
def _watched(runtime: Any, method: str) -> Iterator[list[float]]:
    """How long each call of a runtime's method takes."""
    taken: list[float] = []
    original = getattr(runtime, method)

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            taken.append(time.perf_counter() - started)

    setattr(runtime, method, timed)
    try:
        yield taken
    finally:
        delattr(runtime, method)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _processor() -> str:
    return f"{os.cpu_count()} cores, {processor_name()}"


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
