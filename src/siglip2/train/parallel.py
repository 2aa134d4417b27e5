"""Ranks of a run: what `torchrun` started, how the model is spread over them, and the few collectives used.

DDP keeps a whole copy on every rank. FSDP2 shards every tensor over the ranks, block by block. Both average
gradients, and the losses are scaled for that.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from siglip2.errors import InvalidInput
from siglip2.recipes.recipe import Parallel


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among its peers.

    Attributes:
        rank: number of this process.
        world: how many there are.
        device: where this one computes.
        kind: how the model is spread.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    kind: Parallel = "ddp"

    @property
    def first(self) -> bool:
        """Whether this one writes logs."""
        return self.rank == 0

    def spread(self, objective: nn.Module, *, unused: bool) -> nn.Module:
        """Wrap modules for this run; with one process they stay as they are.

        Args:
            objective: what learns.
            unused: whether some parameters that require gradients get none; else DDP waits for all of them.
        """
        if self.world == 1:
            return objective
        if self.kind == "ddp":
            return DistributedDataParallel(
                objective,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=unused,
            )
        for module in list(objective.modules()):
            if isinstance(module, nn.ModuleList):
                for layer in module:
                    fully_shard(layer)
        fully_shard(objective)
        return objective

    @contextmanager
    def last_of_several(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Exchange gradients after the last part of a batch only."""
        if last or self.world == 1:
            yield
        elif isinstance(module, DistributedDataParallel):
            with module.no_sync():
                yield
        else:
            assert isinstance(module, FSDPModule)
            module.set_requires_gradient_sync(False)
            yield
            module.set_requires_gradient_sync(True)

    def any(self, flag: bool) -> bool:
        """Whether it holds on any rank; all ranks ask."""
        if self.world == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return bool(found.item())

    def mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over ranks; all ranks ask."""
        if not values:
            return {}
        stacked = torch.stack([value.detach().float() for value in values.values()])
        if self.world > 1:
            dist.all_reduce(stacked)
            stacked /= self.world
        return dict(zip(values, stacked.tolist(), strict=True))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, one rank after the other; ranks may have different numbers of them."""
        if self.world == 1:
            return rows
        own = torch.tensor(len(rows), device=rows.device)
        counts = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(counts, own)
        most = max(int(count) for count in counts)
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])]).contiguous()
        everyone = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everyone, padded)
        return torch.cat([each[: int(count)] for each, count in zip(everyone, counts, strict=True)])

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()


def join_ranks(device: str, kind: Parallel) -> Ranks:
    """The process group that `torchrun` describes in the environment; one process without it.

    Args:
        device: `cpu`, `cuda` or one of several, such as `cuda:1`.
        kind: see `Recipe.parallel`.

    Raises:
        InvalidInput: a device that is not there.
    """
    name, _, number = device.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if name not in there or (number and not number.isdecimal()):
        raise InvalidInput(f"--device {device}: expected cpu, cuda, or one of several, such as cuda:1")
    if not int(number or 0) < there[name]:
        raise InvalidInput(f"--device {device}: torch sees {there[name]} devices of this kind")
    if "WORLD_SIZE" not in os.environ:
        return Ranks(device=device, kind=kind)
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # Saving in the background exchanges its plans on the processor.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    return Ranks(rank=dist.get_rank(), world=dist.get_world_size(), device=device, kind=kind)


def whole(tensor: Tensor) -> Tensor:
    """A tensor as one, gathered from the ranks where it is sharded; all ranks ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
