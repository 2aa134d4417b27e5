"""`siglip2 train`: run a recipe, go on with one, or show what it would do."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from siglip2.errors import InvalidInput


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Turn `--dot.path value`, which means a field of the recipe, into `--change dot.path=value`."""
    prepared: list[str] = []
    changes: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and "." in name:
            given = value if equals else next(waiting, None)
            if given is None:
                raise InvalidInput(f"{name} needs a value")
            changes.append(f"{name[2:]}={given}")
        else:
            prepared.append(argument)
    return [*prepared, "--change", *changes] if changes else prepared


def train(
    recipe: str,
    *,
    data: Path | None = None,
    run: Path | None = None,
    small: bool = False,
    dry_run: bool = False,
    change: tuple[str, ...] = (),
    steps: int | None = None,
    model: str = "nano",
    lock_images: bool = False,
    unchecked: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    export: Path | None = None,
) -> None:
    """Train a recipe; the same command goes on with a run that was stopped or killed.

    Any field of a recipe can be changed by its path: `--optimizer.learning_rate 1e-4`,
    `--stages.1.begin 0.5`.

    Args:
        recipe: nano, nano_sigmoid, fine_tune, base_patch16_256 and its branches.
        data: folder of the training data; for fine_tune one with captions.csv or captions.jsonl.
        run: folder for the state of the run, its log and its vocabulary.
        small: nano only, every stage in minutes.
        dry_run: print the expanded recipe, its stages and its cost, and train nothing.
        change: path=value of a field of the recipe.
        steps: number of steps, instead of the recipe's.
        model: fine_tune only, the weights to begin from.
        lock_images: fine_tune only, train the text tower alone (LiT).
        unchecked: train even where the initial weights do not tell true pairs from shuffled ones.
        threads: processor threads for torch.
        device: where to train.
        export: folder for the trained model; `RUN/model` where none is named.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen, checkpoint = _recipe(recipe, small, model, lock_images)
    from siglip2.recipes.registry import override

    if steps:
        warmup = min(chosen.schedule.warmup_steps, max(1, steps // 10))
        schedule = dataclasses.replace(chosen.schedule, num_steps=steps, warmup_steps=warmup)
        chosen = dataclasses.replace(chosen, schedule=schedule)
    chosen = override(chosen, dict(_split(each) for each in change))
    if dry_run:
        from siglip2.train.plan import plan

        print(plan(chosen), end="")
        return
    if data is None or not data.is_dir():
        raise InvalidInput(f"{data} is not a folder: --data names the folder of the training data")
    if run is None:
        raise InvalidInput("--run names the folder for the state of the run, its log and its model")
    try:
        import torch
    except ModuleNotFoundError:
        raise InvalidInput("training needs torch: pip install 'siglip2[train]'") from None
    from siglip2.inputs.text import TextPreprocessor
    from siglip2.inputs.tokenizer import Tokenizer
    from siglip2.train.export import export_model
    from siglip2.train.loop import train as run_training
    from siglip2.train.objective import stage_config
    from siglip2.train.prepare import load_sources, prepare_tokenizer

    if threads:
        torch.set_num_threads(threads)
    sources = load_sources(chosen, data)
    initial = None
    if checkpoint is None:
        vocabulary = prepare_tokenizer(chosen, sources, run / "tokenizer.json")
    else:
        if checkpoint.tokenizer is None:
            raise InvalidInput(f"{model} has no vocabulary beside its weights, which fine-tuning needs")
        vocabulary = checkpoint.tokenizer
        initial = {name: torch.from_numpy(checkpoint.read(name).copy()) for name in checkpoint.tensors}
    tokenize = TextPreprocessor(Tokenizer.from_file(vocabulary), chosen.model.text.context_length)
    weights = run_training(
        chosen, sources, tokenize, run, device=device, initial=initial, checked=not unchecked
    )
    folder = export or run / "model"
    export_model(stage_config(chosen, len(chosen.stages) - 1), weights, vocabulary, folder)
    print(folder)


def _recipe(name: str, small: bool, model: str, lock_images: bool):
    """A recipe by name, and the weights that it begins from."""
    if small and name != "nano":
        raise InvalidInput("--small is for nano only")
    if name == "fine_tune":
        from siglip2.recipes.fine_tune import fine_tune
        from siglip2.weights.load import load_checkpoint

        checkpoint = load_checkpoint(model)
        if checkpoint.config.vision.naflex:
            raise InvalidInput(f"{model} is a NaFlex model; fine_tune takes one of a fixed image size")
        return fine_tune(checkpoint.config, model, lock_images=lock_images), checkpoint
    from siglip2.recipes.nano import nano
    from siglip2.recipes.registry import find_recipe

    return (nano(small=True) if small else find_recipe(name)), None


def _split(change: str) -> tuple[str, str]:
    path, equals, value = change.partition("=")
    if not equals:
        raise InvalidInput(f"--change {change}: expected path=value")
    return path, value
