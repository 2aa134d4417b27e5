"""Sigmoid alone, with captions, with self-supervision: train each, measure each, write docs/ablation.md.

python benchmarks/ablation.py train --data DATA --out RUNS     # goes on where it was stopped
python benchmarks/ablation.py train --data DATA --out RUNS --precision bfloat16 --compiled
python benchmarks/ablation.py measure --data DATA --out RUNS
python benchmarks/ablation.py write --out RUNS

`--initial FOLDER` begins from other weights than the bundled ones, for all three parts.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from sections import write_section

import siglip2
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.protocol import Protocol, with_encoder
from siglip2.evals.registry import all_tasks
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import Context
from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.recipes.ablation import ARMS, Arm, ablation
from siglip2.recipes.recipe import Recipe
from siglip2.train.allocator import keep_freed_memory
from siglip2.train.export import export_model
from siglip2.train.loop import train
from siglip2.train.prepare import load_sources
from siglip2.weights.load import load_checkpoint

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ablation.md"
BEGIN, END = "<!-- ablation: written by benchmarks/ablation.py -->", "<!-- end of ablation -->"
TITLES = {"sigmoid": "sigmoid only", "captions": "+ LocCa", "dense": "+ LocCa, SILC and TIPS"}

TASKS = {
    "tiny_imagenet": ("top_1", "Tiny ImageNet zero-shot, top-1 %"),
    "flickr8k": ("text_to_image_hit@10", "Flickr8k, mean of six languages, text to image, hit@10 %"),
    "camvid": ("miou", "CamVid, linear probe, mIoU %"),
    "coco_mini_masks": ("miou", "COCO masks, linear probe, mIoU %"),
    "coco_mini_expressions": ("accuracy@0.5", "Expressions over COCO, accuracy@0.5 %"),
}


def main(
    what: tyro.conf.Positional[Literal["train", "measure", "write"]],
    out: Path,
    data: Path | None = None,
    seeds: tuple[int, ...] = (0, 1),
    steps: int = 100,
    threads: int = 1,
    precision: Literal["float32", "bfloat16"] = "float32",
    compiled: bool = False,
    initial: str = "nano",
) -> None:
    """Run one part.

    Args:
        what: the part.
        out: folder of runs and results.
        data: folder of the data sets.
        seeds: of the runs.
        steps: of each run.
        threads: processor threads.
        precision: of the towers' arithmetic in training.
        compiled: torch.compile each block.
        initial: name or folder of the model that every arm begins from.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    keep_freed_memory()
    names: list[tuple[str, Arm, int]] = [(f"{arm}_{seed}", arm, seed) for seed in seeds for arm in ARMS]
    if what == "write":
        return _write(out, seeds)
    assert data is not None, "--data names the folder of the data sets"
    for name, arm, seed in names:
        if what == "train" and not (out / name / "model" / "config.json").exists():
            recipe = ablation(arm, seed=seed, model=load_checkpoint(initial).config, num_steps=steps)
            recipe = replace(recipe, initial_weights=initial, precision=precision, compile=compiled)
            _train(out / name, data, recipe)
        if what == "measure":
            _measure(name, out / name / "model", data, out)
    if what == "measure":
        _measure("nano", initial, data, out)
    return None


def _train(run: Path, data: Path, recipe: Recipe) -> None:
    assert recipe.initial_weights is not None
    checkpoint = load_checkpoint(recipe.initial_weights)
    assert checkpoint.tokenizer is not None
    tokenize = TextPreprocessor(Tokenizer.from_file(checkpoint.tokenizer), recipe.model.text.context_length)
    initial = {name: torch.from_numpy(checkpoint.read(name).copy()) for name in checkpoint.tensors}
    weights = train(recipe, load_sources(recipe, data), tokenize, run, initial=initial)
    export_model(recipe.model, weights, checkpoint.tokenizer, run / "model")


def _measure(name: str, model: Path | str, data: Path, out: Path) -> None:
    encoder = siglip2.load(model)
    protocol = with_encoder(Protocol(templates="plain"), encoder)
    cache = EmbeddingCache(encoder, out / "cache")
    context = Context(encoder=encoder, data=data, protocol=protocol, cache=cache)
    known = all_tasks()
    run_tasks([known[task] for task in TASKS], context, out / "results" / name)
    cache.close()


def _write(out: Path, seeds: tuple[int, ...]) -> None:
    """Put the table into docs/ablation.md, between its marks."""
    log = json.loads((out / f"{ARMS[0]}_{seeds[0]}" / "log.jsonl").read_text().splitlines()[-1])
    results = {name: _results(out, name) for name in _names(seeds)}
    paths: dict[str, tuple[str, ...]] = {
        title: (task, "measures", measure) for task, (measure, title) in TASKS.items()
    }
    for language in results["nano"]["flickr8k"]["details"]["per_language"]:
        for way in ("text to image", "image to text"):
            measure = f"{way.replace(' ', '_')}_hit@1"
            title = f"Flickr8k, {language.split('_')[0]}, {way}, hit@1 %"
            paths[title] = ("flickr8k", "details", "per_language", language, measure)
    lines = [
        f"{log['step']} steps of 192 images for every arm, seeds {', '.join(map(str, seeds))}; in brackets",
        "the seeds one by one, and for nano the 95 % interval of the measurement itself.",
        "",
        "| | nano, where all begin | " + " | ".join(TITLES[arm] for arm in ARMS) + " |",
        "| --- | ---: |" + " ---: |" * len(ARMS),
    ]
    for title, path in paths.items():
        start = _at(results["nano"], path)
        cells = [f"{100 * start['value']:.1f} ({100 * start['low']:.1f} to {100 * start['high']:.1f})"]
        for arm in ARMS:
            values = [100 * _at(results[f"{arm}_{seed}"], path)["value"] for seed in seeds]
            each = ", ".join(f"{one:.1f}" for one in values)
            cells.append(f"**{np.mean(values):.1f}** ({each})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    text = "\n".join([*lines, ""])
    write_section(PAGE, BEGIN, END, text)
    print(text)


def _at(found: dict, path: tuple[str, ...]) -> dict:
    for key in path:
        found = found[key]
    return found


def _names(seeds: tuple[int, ...]) -> list[str]:
    return ["nano", *(f"{arm}_{seed}" for arm in ARMS for seed in seeds)]


def _results(out: Path, name: str) -> dict:
    folder = out / "results" / name
    return {task: json.loads(next(folder.glob(f"**/{task}.json")).read_text()) for task in TASKS}


if __name__ == "__main__":
    tyro.cli(main)
