"""Teach a small language model to say what nano's image tower sees.

    python examples/vlm/train.py --data DATA --out runs/vlm                       # nano frozen, squares
    python examples/vlm/train.py --data DATA --out runs/blind --pictures shuffled   # the text-only baseline
    python examples/vlm/train.py --data DATA --out runs/naflex --inputs naflex --encoder trained

Ctrl-C ends after the running step with a checkpoint; the same command with `--resume` goes on from there.
Needs `pip install 'siglip2[train,interop]'`.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from measure import held_out
from model import VisionLanguageModel, Words, build, to_ids
from split import Split

from data import Turn, captions, questions, read_samples


@dataclass(frozen=True, kw_only=True)
class Options:
    """One training run."""

    data: Path
    """Folder with `flickr8k` and `coco_mini`."""
    out: Path
    """Folder for `checkpoint.pt` and `results.json`."""
    inputs: Literal["fixed", "naflex"] = "fixed"
    """Squares of the tower's own size, or each photo in its own shape."""
    encoder: Literal["frozen", "trained"] = "frozen"
    """Frozen: features are computed once, before the first step."""
    pictures: Literal["own", "shuffled"] = "own"
    """Shuffled: every text gets another photo, so that nothing can be learned from looking."""
    num_blocks: int | None = None
    """First ones of the tower's that it looks through; None: all, with the last norm and the pooling head."""
    max_num_patches: int = 64
    """Patches of a photo, NaFlex only."""
    tiles: int = 1
    """The tower sees a square whole and, at its own size again, so many parts each way; 1: whole alone."""
    cuts: int = 3
    """Parts of every training photo, mirrored half of the time, beside the whole."""
    dropout: float = 0.3
    """Of the features while it learns; half as much of embeddings and attention."""
    steps: int = 1_000
    batch_size: int = 64
    questions_share: float = 0.25
    """Part of a batch that is questions; the rest is captions."""
    learning_rate: float = 3e-3
    encoder_learning_rate: float = 1e-4
    warmup: int = 20
    """Steps."""
    seed: int = 0
    threads: int | None = None
    """Of torch; None for its own choice."""
    limit: int | None = None
    """Use so many photographs of each split; for tests."""
    test_captions: int = 2
    """Of each held-out photo."""
    checkpoint_every: int = 100
    resume: bool = False


def batch_of(split: Split, options: Options, step: int) -> tuple[list[Turn], list[int]]:
    """Turns of a step and the picture shown with each; the same for the same seed and step."""
    random = np.random.default_rng((options.seed, step))
    asked = round(options.questions_share * options.batch_size)
    counts = {"captions": options.batch_size - asked, "questions": asked}
    chosen: list[Turn] = []
    for kind, count in counts.items():
        if turns := split.turns[kind]:
            chosen += [turns[index] for index in random.integers(len(turns), size=count)]
    return chosen, shown(chosen, len(split), options, random)


def shown(turns: Sequence[Turn], count: int, options: Options, random: np.random.Generator) -> list[int]:
    """The picture of each turn, or any picture in place of it."""
    if options.pictures == "shuffled":
        return random.integers(count, size=len(turns)).tolist()
    return [turn.picture for turn in turns]


def train(options: Options) -> dict:
    """Run, save, measure.

    Returns:
        What `results.json` holds.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    started, processor = time.perf_counter(), time.process_time()
    native = options.inputs == "naflex"
    samples = read_samples(options.data, "train", native=native, limit=options.limit)
    turns = {"captions": captions(samples), "questions": questions(samples)}
    words = Words.used_in(
        [text for each in turns.values() for turn in each for text in (turn.prompt, turn.answer)]
    )
    model = build(options.inputs, words, num_blocks=options.num_blocks, dropout=options.dropout)
    model.tower.requires_grad_(options.encoder == "trained")
    split = Split(samples, turns, model, options.max_num_patches, cuts=options.cuts, tiles=options.tiles)
    prepared = time.perf_counter() - started

    optimizer, schedule = optimiser_of(model, options)
    file, first, curve = options.out / "checkpoint.pt", 0, []
    if options.resume and file.exists():
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["random"])
        first, curve = saved["step"], saved["curve"]
    with interrupts() as stop:
        for step in range(first, options.steps):
            chosen, pictures = batch_of(split, options, step)
            ids, answers = to_ids(words, [each.prompt for each in chosen], [each.answer for each in chosen])
            seen = split.look(model, pictures, np.random.default_rng((options.seed, step, 1)))
            loss = model.losses(seen, ids, answers).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            curve.append(loss.item())
            if (step + 1) % 50 == 0:
                print(f"step {step + 1:5} of {options.steps}  loss {np.mean(curve[-50:]):.3f}", flush=True)
            last = step + 1 == options.steps or stop()
            if last or (step + 1) % options.checkpoint_every == 0:
                states = {"model": model, "optimizer": optimizer, "schedule": schedule}
                save(
                    {name: each.state_dict() for name, each in states.items()},
                    file,
                    step=step + 1,
                    curve=curve,
                    words=words.kept,
                    random=torch.get_rng_state(),  # of what is dropped
                )
            if last and step + 1 < options.steps:
                print(f"stopped after {step + 1} steps; the same command with --resume goes on")
                raise SystemExit(130)
    trained = time.perf_counter() - started - prepared

    model.eval()
    unseen = read_samples(options.data, "test", native=native, limit=options.limit)
    measured = held_out(model, words, unseen, options.test_captions, options.max_num_patches, options.tiles)
    results = {
        "options": {name: str(value) for name, value in asdict(options).items()},
        "curve": curve,
        "held_out": measured,
        "seconds": {"preparing": round(prepared), "training": round(trained)},
    }
    results["seconds"]["measuring"] = round(time.perf_counter() - started - prepared - trained)
    results["seconds"]["of processor time"] = round(time.process_time() - processor)
    (options.out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


def optimiser_of(model: VisionLanguageModel, options: Options) -> tuple[torch.optim.Optimizer, "Schedule"]:
    """AdamW with a smaller step for the tower; warm-up, then a cosine down to nothing."""
    others = [each for name, each in model.named_parameters() if not name.startswith("tower.")]
    groups = [{"params": others, "lr": options.learning_rate}]
    if options.encoder == "trained":
        groups.append({"params": list(model.tower.parameters()), "lr": options.encoder_learning_rate})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.1)

    def factor(step: int) -> float:
        done = min(step / options.steps, 1)
        return min((step + 1) / options.warmup, 1) * 0.5 * (1 + float(np.cos(np.pi * done)))

    return optimizer, Schedule(optimizer, factor)


Schedule = torch.optim.lr_scheduler.LambdaLR


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed; a second one ends at once, as usual."""
    pressed = []

    def press(*_: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        # None: a handler of another library, which Python cannot put back.
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


def save(states: dict, file: Path, **others: object) -> None:
    """Write beside, then rename: an interrupted save leaves the checkpoint before it."""
    beside = file.with_suffix(".tmp")
    torch.save(states | others, beside)
    beside.replace(file)


if __name__ == "__main__":
    for name, value in train(tyro.cli(Options)).items():
        if name in ("held_out", "seconds"):
            print(name, json.dumps(value))
