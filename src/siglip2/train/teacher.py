"""The teacher of the self-supervised losses: a running average of the student's image tower and heads.

The paper does not say: the momentum. SILC keeps it fixed: a teacher that is annealed to a standstill no
longer follows what the student learns from texts.
"""

from copy import deepcopy

import torch
from torch import nn

MOMENTUM = 0.996


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy that takes no gradients."""
    teacher = deepcopy(student)
    teacher.requires_grad_(False)
    return teacher.eval()


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move every tensor of the teacher towards the student's.

    Works on sharded tensors as it stands: both modules are sharded alike, and each rank moves its own part.

    Args:
        teacher: made by `make_teacher` of this student.
        student: what learns.
        momentum: share of the old value that stays.
    """
    own = dict(teacher.named_parameters())
    for name, parameter in student.named_parameters():
        own[name].lerp_(parameter.detach().to(own[name].dtype), 1 - momentum)
    buffers = dict(teacher.named_buffers())
    for name, buffer in student.named_buffers():
        buffers[name].copy_(buffer)
