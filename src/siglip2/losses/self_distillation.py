"""SILC's self-distillation: eight local views must say of an image what the teacher says of the whole.

Source: paper Section 2.3; Naeem et al. 2023 (arXiv 2310.13355) for the form: cross-entropy between softmaxes,
the teacher's centred and sharper.
The paper does not say: temperatures and the momentum of the centre; 0.1, 0.04 and 0.9 are DINO's.
Differs from the paper: nothing known; with one global view, as there.
"""

import torch
import torch.distributed
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class DistillationLoss(nn.Module):
    """Cross-entropy of the student's shares under the teacher's, with a running centre.

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

    def forward(self, student: Float[Tensor, "V B K"], teacher: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
        """Mean over views and images; then the centre moves.

        Args:
            student: scores of each view.
            teacher: scores of the one global view; no gradient goes there.
        """
        teacher = teacher.detach().float()
        shares = F.softmax((teacher - self.centre) / self.teacher_temperature, dim=-1)
        logs = F.log_softmax(student.float() / self.student_temperature, dim=-1)
        loss = -(shares * logs).sum(dim=-1).mean()
        self._move(teacher)
        return loss

    @torch.no_grad()
    def _move(self, teacher: Tensor) -> None:
        total = torch.cat([teacher.sum(dim=0), teacher.new_tensor([float(len(teacher))])])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # One centre for all ranks, of the whole batch, however unevenly it is spread.
            torch.distributed.all_reduce(total)
        if total[-1] > 0:
            self.centre.lerp_(total[:-1] / total[-1], 1 - self.centre_momentum)
