"""Means over the rows of all ranks."""

import torch
import torch.distributed as dist
from torch import Tensor


def mean_over_ranks(total: Tensor, count: int) -> Tensor:
    """A rank's share of a mean: the average of these shares over ranks is the mean over all rows.

    Data-parallel training averages gradients over ranks. Dividing by each rank's own count would weigh the
    rows of a rank with few of them more.

    Args:
        total: sum over this rank's rows.
        count: this rank's rows; with none on any rank the result is zero.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return total / max(1, count)
    everyone = torch.tensor(float(count), device=total.device)
    dist.all_reduce(everyone)
    return total * (dist.get_world_size() / max(1.0, everyone.item()))
