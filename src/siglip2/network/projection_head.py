"""The head of self-distillation: features to scores over prototypes, as in DINO and SILC.

The paper does not say: the head's size. Hidden width, bottleneck and prototypes are DINOv2's (2,048, 256 and
65,536) in the published recipes, and fields of them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """Three linear layers, unit length, and unit-length prototypes."""

    def __init__(self, width: int, *, hidden: int = 2048, bottleneck: int = 256, prototypes: int = 65_536):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, bottleneck)
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        """Cosines with the K prototypes; their product is in autocast's precision, since K is large."""
        x = F.gelu(self.fc1(x), approximate="tanh")
        x = self.fc3(F.gelu(self.fc2(x), approximate="tanh"))
        return F.normalize(x.float(), dim=-1) @ F.normalize(self.prototypes.float(), dim=-1).T

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Truncated normal of 0.02, biases at zero."""
        for parameter in self.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
