r"""A training step of siglip2 against open_clip's, and the memory of the sigmoid loss as the batch grows.

    python benchmarks/training.py --write             # some minutes on two cores; writes docs/benchmarks.md
    python benchmarks/training.py --device cuda --batch 256 --precisions bfloat16 --compiled \
        --whole 64 --no-memory --write
    python benchmarks/training.py --device cuda --batch 1024 --precisions bfloat16 --compiled \
        --no-memory --alone --rounds 4 --steps 5

Both train the same towers (B/16-256) from random weights on the same random batch with the sigmoid loss and
AdamW: open_clip as its training script does it, with its own model, loss and clamp; siglip2 as its loop does
it. Rounds alternate, and the fastest of each counts. With `--compiled` ours is compiled block by block, as
recipes ask for, and theirs is measured as its script runs it and compiled. `--whole` measures every stage of
the published B/16 recipe (a vocabulary of 256,000, eight local views, 65,536 prototypes) too. On a processor
both keep the memory they free, as `siglip2 train` does and open_clip does not (`--no-keep` for neither). For
the memory, one rank with a fixed batch meets the texts of more and more ranks; each point is a process of its
own.
Needs `open_clip_torch` and `timm`. Where torchvision is missing, a stand-in takes its place: their towers and
losses use nothing of it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from process_memory import peak_kilobytes
from torch.nn import functional as F
from training_report import LOCAL_BATCH, Precision, facts, write_section

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.data.share import Share
from siglip2.losses.sigmoid_blockwise import BlockGradients
from siglip2.recipes.cost import example_flops
from siglip2.recipes.published import base_patch16_256
from siglip2.recipes.recipe import Optimizer, Recipe, Schedule, Source
from siglip2.train.allocator import keep_freed_memory
from siglip2.train.batches import Views, make_views
from siglip2.train.meters import PEAK_FLOPS
from siglip2.train.objective import Objective, stage_config
from siglip2.train.optimizer import build_optimizers, set_learning_rate
from siglip2.train.run_state import prepare_modules
from siglip2.train.sampling import Batch

WIDTH = 768
RANKS = (1, 2, 4, 8, 16)


def main(
    device: str = "cpu",
    batch: int = 4,
    rounds: int = 3,
    steps: int = 1,
    width: int = 768,
    depth: int = 12,
    vocabulary: int = 32_000,
    precisions: tuple[Precision, ...] = ("float32", "bfloat16"),
    compiled: bool = False,
    threads: int | None = None,
    keep: bool = True,
    memory: bool = True,
    whole: int = 0,
    alone: bool = False,
    write: bool = False,
    saved: Path | None = None,
    point: tuple[str, int] | None = None,
) -> None:
    """Measure.

    Args:
        device: cpu or cuda.
        batch: pairs a step.
        rounds: counted of each.
        steps: of a round, one after the other as in a run; a GPU starts on the next before the last is done.
        width: of both towers.
        depth: of both towers.
        vocabulary: of the text tower; the published one has 256,000 pieces.
        precisions: of the towers' arithmetic, one after the other.
        compiled: torch.compile, of each of our blocks and of their model.
        threads: processor threads.
        keep: keep freed memory, in both.
        memory: measure the loss as well.
        whole: pairs a step of the stages of `base_patch16_256`; 0 leaves them out.
        alone: siglip2 without its peer, whose activations need more memory.
        write: write the section of docs/benchmarks.md, and the plot beside it.
        saved: write what this file holds of an earlier run, and measure nothing.
        point: internal, one process of the memory measurement.
    """
    if point is not None:
        print(_loss_memory(*point))
        return
    if threads:
        torch.set_num_threads(threads)
    if saved is not None:
        write_section(json.loads(saved.read_text()))
        return
    if keep and device == "cpu":
        keep_freed_memory()
    found = facts(device) | {"batch": batch, "width": width, "depth": depth, "vocabulary": vocabulary}
    found |= {"compiled": compiled, "keep": keep, "rounds": rounds, "steps_a_round": steps}
    found["steps"] = {
        each: _compare(
            replace(_recipe(batch, width, depth, vocabulary, each), compile=compiled),
            device,
            (rounds, steps),
            alone=alone,
        )
        for each in precisions
    }
    if whole:
        found["whole"] = _whole_recipe(whole, device, (rounds, steps), compiled, depth)
    if memory:
        found["loss_megabytes"] = {
            kind: {ranks * LOCAL_BATCH: _point(kind, ranks) for ranks in RANKS}
            for kind in ("siglip2", "open_clip")
        }
    print(json.dumps(found, indent=1))
    if write:
        write_section(found)


def _compare(recipe: Recipe, device: str, rounds: tuple[int, int], *, alone: bool) -> dict[str, Any]:
    """Rates of both, and the share of the device's peak where that is known."""
    batch, precision = recipe.sources[0].images_per_batch, recipe.precision
    steps = {"siglip2": _our_step(recipe, device)}
    if not alone:
        steps["open_clip"] = _their_step(recipe, device, precision, compiled=False)
    if recipe.compile and not alone:
        steps["open_clip, compiled"] = _their_step(recipe, device, precision, compiled=True)
    rates = {name: batch / seconds for name, seconds in _fastest(steps, device, rounds).items()}
    flops = example_flops(recipe, recipe.stages[0])
    found: dict[str, Any] = {
        "images_per_second": rates,
        "teraflops": {name: rate * flops / 1e12 for name, rate in rates.items()},
    }
    if peak := _peak(device):
        found["mfu"] = {each: rate * flops / peak for each, rate in rates.items()}
    if device == "cuda":
        found["gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def _whole_recipe(
    batch: int, device: str, rounds: tuple[int, int], compiled: bool, depth: int
) -> list[dict[str, Any]]:
    """Each stage of the published recipe on random pictures and texts, ready on the device."""
    recipe = base_patch16_256()
    vision, text = (replace(each, depth=depth) for each in (recipe.model.vision, recipe.model.text))
    source = Source(name="random", images_per_batch=batch, flip=False)
    model = replace(recipe.model, vision=vision, text=text)
    recipe = replace(recipe, model=model, sources=(source,), compile=compiled)
    found = []
    for index, stage in enumerate(recipe.stages):
        step = _our_step(recipe, device, stage=index)
        seconds = _fastest({"siglip2": step}, device, rounds)["siglip2"]
        flops = batch / seconds * example_flops(recipe, stage)
        line = {"stage": stage.name, "images_per_second": batch / seconds, "teraflops": flops / 1e12}
        if peak := _peak(device):
            line["mfu"] = flops / peak
        found.append(line)
        del step
        if device == "cuda":
            torch.cuda.empty_cache()
    return found


def _fastest(kinds: dict[str, Callable[[], None]], device: str, rounds: tuple[int, int]) -> dict[str, float]:
    """Seconds a step in the fastest round of each; all take turns, and one before does not count.

    Args:
        kinds: a step of each.
        device: where they run.
        rounds: how many count, and steps of each.
    """
    turns, steps = rounds
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(turns + 1):
        for name, step in kinds.items():
            _wait(device)
            started = time.perf_counter()
            for _ in range(steps):
                step()
            _wait(device)
            took = (time.perf_counter() - started) / steps
            print(f"{name}: {took:.4f} s" + " with compilation" * (turn == 0), file=sys.stderr, flush=True)
            if turn:
                seconds[name].append(took)
    return {name: min(each) for name, each in seconds.items()}


def _peak(device: str) -> float | None:
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((value for part, value in PEAK_FLOPS.items() if part in name), None)


def _recipe(batch: int, width: int, depth: int, vocabulary: int, precision) -> Recipe:
    heads = width // 64
    vision = VisionConfig(
        width=width,
        depth=depth,
        mlp_dim=4 * width,
        num_heads=heads,
        patch_size=16,
        image_size=256,
        position_grid=16,
    )
    text = TextConfig(
        width=width, depth=depth, mlp_dim=4 * width, num_heads=heads, vocab_size=vocabulary, context_length=64
    )
    return Recipe(
        name="benchmark",
        model=ModelConfig(vision=vision, text=text),
        sources=(Source(name="random", images_per_batch=batch),),
        optimizer=Optimizer(name="adamw"),
        schedule=Schedule(num_steps=1000, warmup_steps=10),
        precision=precision,
    )


def _our_step(recipe: Recipe, device: str, stage: int = 0):
    objective = Objective(recipe).to(device)
    average = {name: value.clone() for name, value in objective.model.state_dict().items()}
    for each in range(stage + 1):
        objective.enter(each, average)
    prepare_modules(objective, recipe)
    optimizers = build_optimizers(objective, recipe.optimizer)
    views = _random_views(recipe, stage, device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            parts = objective(views)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0).item()
        set_learning_rate(optimizers, 0.1)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        objective.after_step()

    return step


def _random_views(recipe: Recipe, stage: int, device: str) -> Views:
    """What the trainer would make of noise with a box in every picture."""
    count, length = recipe.sources[0].images_per_batch, recipe.model.text.context_length
    draw = np.random.default_rng(0)
    batch = Batch(
        images=[draw.integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)],
        rows=[np.arange(count)],
        shares=[Share.of(count)],
        texts=[str(number) for number in range(count)],
        text_of_image=np.arange(count),
        positions=np.arange(count),
        regions=[(((0.1, 0.2, 0.8, 0.9), "thing"),)] * count,
        keys=[str(number) for number in range(count)],
        aspects=np.ones(count),
    )
    generator = torch.Generator().manual_seed(0)

    def tokenize(texts: Sequence[str]) -> np.ndarray:
        return draw.integers(2, recipe.model.text.vocab_size, (len(texts), length))

    chosen, shape = recipe.stages[stage], stage_config(recipe, stage)
    return make_views(batch, recipe, chosen, shape, tokenize, generator, device)


def _their_step(recipe: Recipe, device: str, precision: str, compiled: bool):
    _stand_in_for_torchvision()
    from open_clip.loss import SigLipLoss
    from open_clip.model import CustomTextCLIP

    vision, text = recipe.model.vision, recipe.model.text
    model = CustomTextCLIP(
        embed_dim=vision.width,
        vision_cfg={"timm_model_name": "vit_base_patch16_siglip_256", "timm_pool": "map", "timm_proj": "none"}
        | {"image_size": 256},
        text_cfg={
            "context_length": text.context_length,
            "vocab_size": text.vocab_size,
            "width": text.width,
            "heads": text.num_heads,
            "layers": text.depth,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
        },
        init_logit_bias=-10.0,
    )
    theirs = sum(parameter.numel() for parameter in model.parameters())
    assert theirs == recipe.model.num_parameters, (theirs, recipe.model.num_parameters)
    model.to(device).train()
    run = torch.compile(model) if compiled else model
    loss_of = SigLipLoss()
    # As their training script groups them: no decay for vectors and the scale.
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and "bn" not in n and "ln" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim >= 2 and "bn" not in n and "ln" not in n)]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}], lr=1e-4
    )
    batch = recipe.sources[0].images_per_batch
    images = torch.rand(batch, 3, 256, 256, device=device)
    ids = torch.randint(2, text.vocab_size, (batch, 64), device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            features, captions, scale, *bias = run(images, ids)
            loss = loss_of(features, captions, scale, *bias)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, norm_type=2.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)

    return step


def _stand_in_for_torchvision() -> None:
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_StandIn())


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of torchvision; each has every name, as a class that does nothing."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Anything(spec.name)

    def exec_module(self, module):
        pass


class _Every(type):
    """A class that has every attribute, each a class of this kind."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Every(name, (), {})


class _Anything(types.ModuleType):
    __version__ = "0.0"

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Every(name, (), {})


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _point(kind: str, ranks: int) -> float:
    command = [sys.executable, __file__, "--point", kind, str(ranks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _loss_memory(kind: str, ranks: int) -> float:
    """Megabytes that loss and gradients of one rank add at most, the embeddings of all ranks aside."""
    torch.set_num_threads(1)
    images = F.normalize(torch.randn(LOCAL_BATCH, WIDTH), dim=-1).requires_grad_()
    texts = [F.normalize(torch.randn(LOCAL_BATCH, WIDTH), dim=-1).requires_grad_() for _ in range(ranks)]
    scale, bias = torch.tensor([2.3]).requires_grad_(), torch.tensor([-10.0]).requires_grad_()
    gradients = [
        torch.zeros_like(each) for each in (images, *texts)
    ]  # theirs as well as ours has to fill these
    before = _peak_memory(begin=True)
    if kind == "siglip2":
        groups = torch.arange(LOCAL_BATCH)
        sums = BlockGradients(images.detach(), scale.detach(), bias.detach())
        for rank, each in enumerate(texts):
            gradients[1 + rank] += sums.add(each.detach(), groups, groups + rank * LOCAL_BATCH, LOCAL_BATCH)
    else:
        _stand_in_for_torchvision()
        from open_clip.loss import SigLipLoss

        before = _peak_memory(begin=True)
        loss_of = SigLipLoss()
        loss = loss_of(images, texts[0], scale.exp(), bias)
        for each in texts[1:]:
            loss = loss + loss_of._loss(images, each, scale.exp(), bias, negative_only=True)
        loss.backward()
    return (_peak_memory() - before) / 1024


def _peak_memory(*, begin: bool = False) -> int:
    """The most memory of this process so far, or since the last `begin`, in kB."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    return peak_kilobytes()


if __name__ == "__main__":
    tyro.cli(main)
