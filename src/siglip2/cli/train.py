"""`siglip2 train`: run a recipe, go on with one, or show what it would do."""

import dataclasses
import inspect
import logging
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from siglip2.errors import InvalidInput


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Turn `--dot.path value`, a field of the recipe, into `--change dot.path=value`; know `report RUN`."""
    from siglip2.recipes.recipe import Recipe

    if len(arguments) == 2 and arguments[0] == "report" and not arguments[1].startswith("-"):
        return ["report", "--run", arguments[1]]
    prepared: list[str] = []
    changes: list[str] = []
    fields = {each.name for each in dataclasses.fields(Recipe)} - set(inspect.signature(train).parameters)
    waiting = deque(arguments)
    while waiting:
        argument = waiting.popleft()
        name, equals, value = argument.partition("=")
        if name == "--change":
            changes += [value] if equals else []
            while waiting and not waiting[0].startswith("-"):
                changes.append(waiting.popleft())
            continue
        field = name.removeprefix("--").replace("-", "_")
        if name.startswith("--") and ("." in name or field in fields):
            if not (equals or waiting):
                raise InvalidInput(f"{name} needs a value")
            changes.append(f"{name[2:]}={value if equals else waiting.popleft()}")
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
    model: str | None = None,
    lock_images: bool = False,
    low_rank: int = 0,
    branch_from: Path | None = None,
    unchecked: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    export: Path | None = None,
    log_to: tuple[str, ...] = (),
) -> None:
    """Train a recipe; the same command goes on with a run that was stopped or killed.

    `siglip2 train report RUN` writes a page with the curves of a run. Under `torchrun` all ranks train
    together.

    Any field of a recipe can be changed by its path: `--optimizer.learning_rate 1e-4`,
    `--stages.1.begin 0.5`, `--accumulate 4`.

    Args:
        recipe: nano, nano_sigmoid, nano_main, fine_tune, base_patch16_256 and its branches.
        data: folder of the training data; for fine_tune one with captions.csv or captions.jsonl.
        run: folder for the state of the run, its log and its vocabulary.
        small: nano only, every stage in minutes.
        dry_run: print the expanded recipe, its stages and its cost, and train nothing.
        change: path=value of a field of the recipe.
        steps: number of steps, instead of the recipe's.
        model: fine_tune only, the weights to begin from; the bundled nano where none are named.
        lock_images: fine_tune only, train the text tower alone (LiT).
        low_rank: fine_tune only, train matrices of this rank beside the weights (LoRA) and write them as an
            adapter beside the model.
        branch_from: branches only, folder of the run that this one goes on from.
        unchecked: train even where the initial weights do not tell true pairs from shuffled ones.
        threads: processor threads for torch.
        device: where to train.
        export: folder for the trained model; `RUN/model` where none is named.
        log_to: besides the log, tensorboard, wandb or mlflow.
    """
    if recipe == "report":
        _report(run)
        return
    live = sys.stderr.isatty()
    logging.basicConfig(level=logging.WARNING if live else logging.INFO, format="%(asctime)s %(message)s")
    chosen, checkpoint = _recipe(recipe, small, model, lock_images, low_rank)
    from siglip2.recipes.registry import override
    from siglip2.recipes.validate import validate

    if steps is not None:
        if steps < 1:
            raise InvalidInput(f"--steps {steps}: it has to be 1 at least")
        warmup = min(chosen.schedule.warmup_steps, max(1, steps // 10))
        schedule = dataclasses.replace(chosen.schedule, num_steps=steps, warmup_steps=warmup)
        chosen = dataclasses.replace(chosen, schedule=schedule)
    chosen = override(chosen, dict(_split(each) for each in change))
    validate(chosen, to_train=not dry_run)
    if dry_run:
        from siglip2.train.plan import plan

        print(plan(chosen), end="")
        return
    if branch_from is not None and not chosen.branch_step:
        raise InvalidInput(f"--branch-from {branch_from}: {chosen.name} is no branch of another run")
    if data is None or not data.is_dir():
        raise InvalidInput(f"{data} is not a folder: --data names the folder of the training data")
    if run is None:
        raise InvalidInput("--run names the folder for the state of the run, its log and its model")
    try:
        import torch
    except ModuleNotFoundError:
        raise InvalidInput("training needs torch: pip install 'siglip2[train]'") from None
    from siglip2.config import Preprocessing
    from siglip2.inputs.text import TextPreprocessor
    from siglip2.inputs.tokenizer import Tokenizer
    from siglip2.train.allocator import keep_freed_memory
    from siglip2.train.export import export_model
    from siglip2.train.loop import train as run_training
    from siglip2.train.objective import stage_config
    from siglip2.train.parallel import join_ranks
    from siglip2.train.prepare import load_sources, prepare_tokenizer
    from siglip2.weights.load import load_checkpoint

    if threads is not None:
        if threads < 1:
            raise InvalidInput(f"--threads {threads}: it has to be 1 at least")
        torch.set_num_threads(threads)
    if device == "cpu":
        keep_freed_memory()
    ranks = join_ranks(device, chosen.parallel)
    sources = load_sources(chosen, data)
    initial = None
    if checkpoint is None and chosen.initial_weights:
        checkpoint = load_checkpoint(chosen.initial_weights)
    preprocessing = Preprocessing()
    if checkpoint is None:
        vocabulary = run / "tokenizer.json"
        if ranks.first:
            if branch_from is not None:
                _take_vocabulary(branch_from, vocabulary)
            prepare_tokenizer(chosen, sources, vocabulary)
        ranks.wait()
    else:
        if checkpoint.tokenizer is None:
            given = chosen.initial_weights
            raise InvalidInput(f"{given} has no vocabulary beside its weights; training needs theirs")
        _check_fit(chosen, checkpoint.config)
        vocabulary, preprocessing = checkpoint.tokenizer, checkpoint.preprocessing
        initial = {name: torch.from_numpy(checkpoint.read(name).copy()) for name in checkpoint.tensors}
    tokenizer, text = Tokenizer.from_file(vocabulary), chosen.model.text
    if tokenizer.vocab_size > text.vocab_size:
        raise InvalidInput(
            f"{vocabulary} has {tokenizer.vocab_size} pieces, more than the {text.vocab_size} of "
            "--model.text.vocab_size: take it away, or set that to as many"
        )
    tokenize = TextPreprocessor(tokenizer, text.context_length, preprocessing.lowercase)
    callbacks = _callbacks(chosen, run, log_to, live) if ranks.first else []
    weights = run_training(
        chosen,
        sources,
        tokenize,
        run,
        ranks=ranks,
        initial=initial,
        checked=not unchecked,
        data_folder=data,
        branch_from=branch_from,
        callbacks=callbacks,
    )
    if ranks.first:
        folder = export or run / "model"
        config = stage_config(chosen, len(chosen.stages) - 1)
        export_model(config, weights, vocabulary, folder, preprocessing=preprocessing)
        print(folder)


def _report(run: Path | None) -> None:
    if run is None:
        raise InvalidInput("siglip2 train report RUN: name the folder of the run")
    from siglip2.train.report import write_report

    print(write_report(run))


def _callbacks(recipe, run: Path, log_to: tuple[str, ...], live: bool) -> list:
    from siglip2.train.callbacks import open_logger

    run.mkdir(parents=True, exist_ok=True)
    found: list = [open_logger(name, run, dataclasses.asdict(recipe)) for name in log_to]
    if live:
        from siglip2.train.terminal import Terminal

        found.append(Terminal(recipe))
    return found


def _take_vocabulary(trunk: Path, vocabulary: Path) -> None:
    """A branch reads with the vocabulary that the run before it has learned."""
    if vocabulary.exists():
        return
    if not (trunk / vocabulary.name).is_file():
        raise InvalidInput(f"--branch-from {trunk}: there is no {vocabulary.name} of a run")
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(trunk / vocabulary.name, vocabulary)


def _check_fit(recipe, config) -> None:
    """Whether initial weights are of the shape that a recipe trains."""
    from siglip2.train.begun_with import differences

    found = differences(dataclasses.asdict(config), dataclasses.asdict(recipe.model))
    if found:
        listed = ", ".join(f"{path} {theirs} and not {ours}" for path, (theirs, ours) in found.items())
        raise InvalidInput(
            f"{recipe.initial_weights} has {listed} as the recipe: change its model by --model.FIELD VALUE, "
            "or begin from other weights"
        )


def _recipe(name: str, small: bool, model: str | None, lock_images: bool, low_rank: int):
    """A recipe by name, and the weights that it begins from."""
    if small and name != "nano":
        raise InvalidInput("--small is for nano only")
    only = {"--model": model is not None, "--lock-images": lock_images, "--low-rank": low_rank != 0}
    if name != "fine_tune" and (given := [option for option, used in only.items() if used]):
        raise InvalidInput(f"{', '.join(given)}: for fine_tune only, not {name}")
    model = model or "nano"
    if name == "fine_tune":
        from siglip2.recipes.fine_tune import fine_tune
        from siglip2.weights.load import load_checkpoint

        checkpoint = load_checkpoint(model)
        if checkpoint.config.vision.naflex:
            raise InvalidInput(f"{model} is a NaFlex model; fine_tune takes one of a fixed image size")
        return fine_tune(checkpoint.config, model, lock_images=lock_images, low_rank=low_rank), checkpoint
    from siglip2.recipes.nano import nano
    from siglip2.recipes.registry import find_recipe

    return (nano(small=True) if small else find_recipe(name)), None


def _split(change: str) -> tuple[str, str]:
    path, equals, value = change.partition("=")
    if not equals:
        raise InvalidInput(f"--change {change}: expected path=value")
    return path, value
