"""A training step of siglip2 against open_clip's, and the memory of the sigmoid loss as the batch grows.

    python benchmarks/training.py --write             # some minutes on two cores; writes docs/benchmarks.md
    python benchmarks/training.py --device cuda --batch 256 --precisions bfloat16 --compiled --write

Both train the same towers (B/16-256) from random weights on the same random batch with the sigmoid loss and
AdamW: open_clip as its training script does it, with its own model, loss and clamp; siglip2 as its loop does
it. Rounds of both alternate, and the fastest of each counts. On a processor both keep the memory they free,
as `siglip2 train` does and open_clip does not (`--no-keep` for neither). For the memory, one rank with a
fixed batch meets the texts of more and more ranks; each point is a process of its own.
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
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.nn import functional as F
from training_report import LOCAL_BATCH, Precision, facts, write_section

from siglip2.config import ModelConfig, TextConfig, VisionConfig
from siglip2.losses.sigmoid_blockwise import BlockGradients
from siglip2.recipes.cost import example_flops
from siglip2.recipes.recipe import Optimizer, Recipe, Schedule, Source
from siglip2.train.allocator import keep_freed_memory
from siglip2.train.batches import Views
from siglip2.train.meters import PEAK_FLOPS
from siglip2.train.objective import Objective
from siglip2.train.optimizer import build_optimizers, set_learning_rate

WIDTH = 768
RANKS = (1, 2, 4, 8, 16)


def main(
    device: str = "cpu",
    batch: int = 4,
    rounds: int = 3,
    width: int = 768,
    depth: int = 12,
    vocabulary: int = 32_000,
    precisions: tuple[Precision, ...] = ("float32", "bfloat16"),
    compiled: bool = False,
    threads: int | None = None,
    keep: bool = True,
    memory: bool = True,
    write: bool = False,
    saved: Path | None = None,
    point: tuple[str, int] | None = None,
) -> None:
    """Measure.

    Args:
        device: cpu or cuda.
        batch: pairs a step.
        rounds: steps counted of each.
        width: of both towers.
        depth: of both towers.
        vocabulary: of the text tower; the published one has 256,000 pieces.
        precisions: of the towers' arithmetic, one after the other.
        compiled: torch.compile, of each of our blocks and of their model.
        threads: processor threads.
        keep: keep freed memory, in both.
        memory: measure the loss as well.
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
    found |= {"compiled": compiled, "keep": keep, "rounds": rounds}
    found["steps"] = {
        each: _compare(_recipe(batch, width, depth, vocabulary, each), device, rounds, compiled)
        for each in precisions
    }
    if memory:
        found["loss_megabytes"] = {
            kind: {ranks * LOCAL_BATCH: _point(kind, ranks) for ranks in RANKS}
            for kind in ("siglip2", "open_clip")
        }
    print(json.dumps(found, indent=1))
    if write:
        write_section(found)


def _compare(recipe: Recipe, device: str, rounds: int, compiled: bool) -> dict[str, Any]:
    """Rates of both, and the share of the device's peak where that is known."""
    batch, precision = recipe.sources[0].images_per_batch, recipe.precision
    steps = {
        "siglip2": _our_step(recipe, device, compiled),
        "open_clip": _their_step(recipe, device, precision, compiled),
    }
    for step in steps.values():
        step()
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            _wait(device)
            started = time.perf_counter()
            step()
            _wait(device)
            seconds[name].append(time.perf_counter() - started)
    rates = {name: batch / min(each) for name, each in seconds.items()}
    flops = example_flops(recipe, recipe.stages[0])
    found: dict[str, Any] = {
        "images_per_second": rates,
        "ratio": rates["siglip2"] / rates["open_clip"],
        "teraflops": {name: rate * flops / 1e12 for name, rate in rates.items()},
    }
    if device == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((value for part, value in PEAK_FLOPS.items() if part in name), None)
        if peak:
            found["mfu"] = {each: rate * flops / peak for each, rate in rates.items()}
    return found


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


def _our_step(recipe: Recipe, device: str, compiled: bool):
    objective = Objective(recipe)
    objective.enter(0, {name: value.clone() for name, value in objective.model.state_dict().items()})
    objective.to(device)
    if compiled:
        for tower in (objective.model.vision_model, objective.model.text_model):
            for layer in tower.encoder.layers:
                layer.compile()
    optimizers = build_optimizers(objective, recipe.optimizer)
    batch = recipe.sources[0].images_per_batch
    numbers = torch.arange(batch, device=device)
    views = Views(
        patches=torch.rand(batch, 256, 768, device=device),
        positions=numbers,
        ids=torch.randint(2, recipe.model.text.vocab_size, (batch, 64), device=device),
        text_numbers=numbers,
        text_of_image=numbers,
    )

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            parts = objective(views)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0).item()
        set_learning_rate(optimizers, 0.1)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


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
    """The most memory of this process so far, or since the last `begin`, in kB.

    Not `ru_maxrss`, which a process inherits from the one that started it.
    """
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    tyro.cli(main)
