"""The two-tower model (big_vision `models/proj/image_text/two_towers.py`)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from siglip2.config import ModelConfig
from siglip2.network.text import TextTower
from siglip2.network.vision import VisionTower

INITIAL_LOG_SCALE = math.log(10.0)
INITIAL_BIAS = -10.0


class SigLIP2(nn.Module):
    """An image tower, a text tower, and the scale and bias of their sigmoid.

    `state_dict()` carries the names of the published files. `logit_scale` is stored as a logarithm.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.vision_model = VisionTower(config.vision, config.layer_norm_eps)
        self.text_model = TextTower(config.text, config.embed_dim, config.layer_norm_eps)
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.logit_bias = nn.Parameter(torch.empty(1))

    def embed_images(self, patches: Float[Tensor, "B N P"], **kwargs: Tensor) -> Float[Tensor, "B E"]:
        """Unit image embeddings; keyword arguments as `VisionTower.forward`."""
        return normalize(self.vision_model(patches, **kwargs).pooled)

    def embed_texts(self, ids: Int[Tensor, "T L"]) -> Float[Tensor, "T E"]:
        """Unit text embeddings."""
        return normalize(self.text_model(ids).pooled)

    def logits(self, images: Float[Tensor, "B E"], texts: Float[Tensor, "T E"]) -> Float[Tensor, "B T"]:
        """exp(t) * image . text + b, in float32."""
        return self.logit_scale.exp() * (images.float() @ texts.float().T) + self.logit_bias


def normalize(x: Float[Tensor, "... E"]) -> Float[Tensor, "... E"]:
    """X / (|x| + 1e-8) in float32, as the reference does."""
    x = x.float()
    return x / (x.norm(dim=-1, keepdim=True) + 1e-8)
