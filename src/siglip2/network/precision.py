"""Products that are to stay in float32 while the towers run in bfloat16."""

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which products have the precision of what goes into them.

    Under autocast `x.float() @ y.float()` is rounded to bfloat16 all the same.

    Args:
        tensor: anything on the device in question.
    """
    return torch.autocast(tensor.device.type, enabled=False)
