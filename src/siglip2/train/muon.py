"""Muon: momentum whose update is orthogonalised by Newton-Schulz steps (Jordan et al., 2024).

`torch.optim.Muon` computes the steps in bfloat16 whatever the device; a processor without bfloat16
arithmetic emulates that a hundred times slower. This one computes them in the run's precision and treats all
matrices of one shape as a batch.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic step: steep at zero, so that five steps bring every singular value near one."""


class Muon(torch.optim.Optimizer):
    """Muon for 2-D parameters, with the root-mean-square of an update matched to AdamW's (0.2)."""

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ):
        """Take the parameters.

        Args:
            params: matrices.
            lr: step size, in units where an update has the root-mean-square of AdamW's.
            weight_decay: times the learning rate, each step.
            momentum: of the gradients.
            dtype: in which updates are orthogonalised.
        """
        self._dtype = dtype
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict) -> None:
        momentum = group["momentum"]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        averages = [self.state[parameter]["momentum"] for parameter in parameters]
        # All at once: a GPU spends longer on starting the kernels of a hundred matrices than on what they do.
        torch._foreach_lerp_(averages, gradients, 1 - momentum)  # pyright: ignore[reportPrivateImportUsage]
        directions = torch._foreach_lerp(gradients, averages, momentum)  # pyright: ignore[reportPrivateImportUsage]
        # Of a sharded matrix every rank orthogonalises the whole and keeps its own rows.
        together = torch.stack([_whole(direction) for direction in directions])
        updates = orthogonalise(together.to(self._dtype)).to(together.dtype)
        rows, columns = parameters[0].shape
        step_size = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
        own = [_sharded(update, each) for update, each in zip(updates, parameters, strict=True)]
        kept = 1 - group["lr"] * group["weight_decay"]
        torch._foreach_mul_(parameters, kept)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(parameters, own, alpha=-step_size)  # pyright: ignore[reportPrivateImportUsage]


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _sharded(tensor: Tensor, parameter: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of each of (M, R, C) matrices near one."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
