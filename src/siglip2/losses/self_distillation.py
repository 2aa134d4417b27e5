"""SILC's self-distillation: eight local views must say of an image what the teacher says of the whole.

Source: paper Section 2.3; Naeem et al. 2023 (arXiv 2310.13355) for the form: cross-entropy between softmaxes,
the teacher's centred and sharper.
The paper does not say: temperatures and the momentum of the centre; 0.1, 0.04 and 0.9 are DINO's.
Differs from the paper: nothing known; with one global view, as there.
"""

import functools
from collections.abc import Callable

import torch
import torch.distributed
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.losses.reduction import mean_over_ranks


class DistillationLoss(nn.Module):
    """Cross-entropy of the student's shares under the teacher's, with a running centre.

    A step may call it several times, with a part of the batch each; `move_centre` ends the step.

    Attributes:
        centre: (K,) mean of the teacher's scores over batches; part of the state of a run.
    """

    centre: Tensor

    def __init__(
        self,
        prototypes: int,
        *,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ):
        super().__init__()
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(prototypes))
        self._seen: Tensor | float = 0.0

    def forward(
        self, student: Float[Tensor, "V B K"], teacher: Float[Tensor, "B K"], *, count: int | None = None
    ) -> Float[Tensor, ""]:
        """Mean over views and images of all ranks.

        Args:
            student: scores of each view.
            teacher: scores of the one global view; no gradient goes there.
            count: images of this rank's whole batch, where this is a part of it.
        """
        function = _compiled_cross_entropy() if student.is_cuda else _cross_entropy
        temperatures = self.student_temperature, self.teacher_temperature
        total, seen = function(student, teacher.detach(), self.centre, *temperatures)
        self._seen = self._seen + torch.cat([seen, seen.new_tensor([float(len(teacher))])])
        return mean_over_ranks(total, len(student) * (len(teacher) if count is None else count))

    def forget(self) -> None:
        """After a step that is skipped: what the teacher said in it moves nothing."""
        self._seen = 0.0

    @torch.no_grad()
    def move_centre(self) -> None:
        """After a step: towards the mean of what the teacher said since the last one, on all ranks."""
        total, self._seen = self._seen, 0.0
        if not isinstance(total, Tensor):
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # One centre for all ranks, of the whole batch, however unevenly it is spread.
            torch.distributed.all_reduce(total)
        if total[-1] > 0:
            self.centre.lerp_(total[:-1] / total[-1], 1 - self.centre_momentum)


def _cross_entropy(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies, and of the teacher's scores (K,), in float32."""
    wide = teacher.float()
    shares = F.softmax((wide - centre) / teacher_temperature, dim=-1)
    logs = F.log_softmax(student.float() / student_temperature, dim=-1)
    return -(shares * logs).sum(), wide.sum(dim=0)


@functools.cache
def _compiled_cross_entropy() -> Callable[..., tuple[Tensor, Tensor]]:
    """For a GPU, where passing 65,536 scores of each masked patch through memory is what takes time."""
    return torch.compile(_cross_entropy)
