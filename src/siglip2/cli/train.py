"""`siglip2 train`: run a recipe."""

import dataclasses
import logging
from pathlib import Path
from typing import Literal

from siglip2.errors import InvalidInput


def train(
    recipe: Literal["nano"],
    *,
    data: Path,
    run: Path,
    steps: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    export: Path | None = None,
) -> None:
    """Train a recipe; the same command goes on with a run that was stopped.

    Args:
        recipe: what to train.
        data: folder of the training data.
        run: folder for the state of the run, its log and its vocabulary.
        steps: number of steps, instead of the recipe's.
        threads: processor threads for torch.
        device: where to train.
        export: folder for the trained model; `RUN/model` where none is named.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not data.is_dir():
        raise InvalidInput(f"{data} is not a folder: --data names the folder of the training data")
    try:
        import torch
    except ModuleNotFoundError:
        raise InvalidInput("training needs torch: pip install 'siglip2[train]'") from None
    from siglip2.inputs.text import TextPreprocessor
    from siglip2.inputs.tokenizer import Tokenizer
    from siglip2.recipes.nano import nano
    from siglip2.train.export import export_model
    from siglip2.train.loop import train as run_training
    from siglip2.train.prepare import load_sources, prepare_tokenizer

    if threads:
        torch.set_num_threads(threads)
    chosen = {"nano": nano}[recipe]()
    if steps:
        schedule = dataclasses.replace(
            chosen.schedule, num_steps=steps, warmup_steps=min(chosen.schedule.warmup_steps, steps // 10)
        )
        chosen = dataclasses.replace(chosen, schedule=schedule)
    sources = load_sources(chosen, data)
    vocabulary = prepare_tokenizer(chosen, sources, run / "tokenizer.json")
    tokenize = TextPreprocessor(Tokenizer.from_file(vocabulary), chosen.model.text.context_length)
    weights = run_training(chosen, sources, tokenize, run, device=device)
    export_model(chosen.model, weights, vocabulary, export or run / "model")
