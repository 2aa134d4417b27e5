"""Sigmoid alone, with captions, with self-supervision: train each, measure each, write docs/ablation.md.

python benchmarks/ablation.py train --data DATA --out RUNS     # goes on where it was stopped
python benchmarks/ablation.py measure --data DATA --out RUNS
python benchmarks/ablation.py write --out RUNS
"""

import json
import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

import siglip2
from siglip2.evals.cache import EmbeddingCache
from siglip2.evals.protocol import Protocol, with_encoder
from siglip2.evals.registry import all_tasks
from siglip2.evals.runner import run_tasks
from siglip2.evals.task import Context
from siglip2.inputs.text import TextPreprocessor
from siglip2.inputs.tokenizer import Tokenizer
from siglip2.recipes.ablation import ARMS, ablation
from siglip2.train.export import export_model
from siglip2.train.loop import train
from siglip2.train.prepare import load_sources
from siglip2.weights.load import load_checkpoint

TASKS = {
    "tiny_imagenet": ("top_1", "Tiny ImageNet zero-shot, top-1 %"),
    "flickr8k": ("text_to_image_hit@1", "Flickr8k in six languages, text to image, hit@1 %"),
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
) -> None:
    """Run one part.

    Args:
        what: the part.
        out: folder of runs and results.
        data: folder of the data sets.
        seeds: of the runs.
        steps: of each run.
        threads: processor threads.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    names = [(f"{arm}_{seed}", arm, seed) for seed in seeds for arm in ARMS]
    if what == "write":
        return _write(out, seeds)
    assert data is not None, "--data names the folder of the data sets"
    for name, arm, seed in names:
        if what == "train" and not (out / name / "model" / "config.json").exists():
            _train(out / name, data, arm, seed, steps)
        if what == "measure":
            _measure(name, out / name / "model", data, out)
    if what == "measure":
        _measure("nano", "nano", data, out)
    return None


def _train(run: Path, data: Path, arm, seed: int, steps: int) -> None:
    checkpoint = load_checkpoint("nano")
    assert checkpoint.tokenizer is not None
    recipe = ablation(arm, seed=seed, model=checkpoint.config, num_steps=steps)
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
    lines = [
        "| | nano, where all begin | " + " | ".join(ARMS) + " |",
        "| --- | ---: |" + " ---: |" * len(ARMS),
    ]
    for task, (measure, title) in TASKS.items():
        cells = [f"{100 * _value(out, 'nano', task, measure):.1f}"]
        for arm in ARMS:
            values = [100 * _value(out, f"{arm}_{seed}", task, measure) for seed in seeds]
            each = ", ".join(f"{value:.1f}" for value in values)
            cells.append(f"**{np.mean(values):.1f}** ({each})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    print("\n".join(lines))


def _value(out: Path, name: str, task: str, measure: str) -> float:
    found = json.loads(next((out / "results" / name).glob(f"**/{task}.json")).read_text())
    return found["measures"][measure]["value"]


if __name__ == "__main__":
    tyro.cli(main)
