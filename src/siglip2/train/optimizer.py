"""Optimiser and schedule with big_vision's semantics (`big_vision/optax.py`, `make`).

Decay applies to kernels only: the matrices of linear layers. Biases, norms, position tables, the token
embedding, the probe, scale and bias are never decayed. The schedule multiplies the decay as well.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from siglip2.recipes.recipe import Optimizer, Schedule
from siglip2.train.muon import Muon


def kernel_names(model: nn.Module) -> set[str]:
    """Parameters that decay: what flax calls `kernel`."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (
            (parameter.ndim == 2 and not name.endswith(("embedding.weight", "probe")))
            or name.endswith("patch_embedding.weight")
        )
    }


def build_optimizers(
    model: nn.Module, settings: Optimizer, *, bfloat16: bool = False
) -> list[torch.optim.Optimizer]:
    """The optimisers of a run; every parameter belongs to exactly one.

    Args:
        model: whose parameters.
        settings: of the recipe.
        bfloat16: orthogonalise Muon's updates in it.
    """
    kernels = kernel_names(model)
    # Muon is meant for matrices inside the towers and the captioning decoder; the first and last ones stay
    # with AdamW.
    inside = ("encoder.layers", "decoder.layers", "head.mlp")
    inner = {name for name in kernels if any(part in name for part in inside)}
    if settings.name == "adamw":
        inner = set()
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    groups = [
        {
            "params": [named[name] for name in named if name in kernels - inner],
            "weight_decay": settings.weight_decay,
        },
        {"params": [named[name] for name in named if name not in kernels], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)
    ]
    if inner:
        optimizers.append(
            Muon(
                [named[name] for name in named if name in inner],
                lr=settings.muon_learning_rate,
                weight_decay=settings.weight_decay,
                dtype=torch.bfloat16 if bfloat16 else torch.float32,
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
            group["initial_decay"] = group["weight_decay"]
    return optimizers


def named_state(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> dict[str, dict[str, Tensor]]:
    """What the optimisers remember of each parameter, under its name."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: state
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        if parameter in names
    }


@torch.no_grad()
def restore(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], known: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Copy remembered state into primed optimisers.

    Parameters that a stage brings in or resizes keep their fresh state, as the paper's heads do.
    """
    for name, state in named_state(model, optimizers).items():
        before = known.get(name, {})
        if all(key in before and before[key].shape == value.shape for key, value in state.items()):
            for key, value in state.items():
                value.copy_(like(before[key], value))


@torch.no_grad()
def prime(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Give every parameter the state of before the first step, so that it can be read into."""
    for optimizer in optimizers:
        rates = [group["lr"] for group in optimizer.param_groups]
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()


def like(tensor: Tensor, sharded: Tensor) -> Tensor:
    """A whole tensor, sharded as another one is."""
    if isinstance(tensor, DTensor) or not isinstance(sharded, DTensor):
        return tensor
    return distribute_tensor(tensor, sharded.device_mesh, sharded.placements)


def schedule_factor(schedule: Schedule, step: float) -> float:
    """Share of the peak learning rate at a step of the schedule: linear warm-up, then a cosine to zero."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    progress = (step - schedule.warmup_steps) / max(1, schedule.num_steps - schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float, decay: float = 1.0) -> None:
    """Scale every group's peak learning rate and, besides that, its decay."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
            group["weight_decay"] = group["initial_decay"] * decay
