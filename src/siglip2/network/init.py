"""Fresh weights as big_vision makes them, and models that cannot hide an uninitialised tensor."""

import math

import torch
from torch import Tensor, nn

from siglip2.config import ModelConfig
from siglip2.network.model import INITIAL_BIAS, INITIAL_LOG_SCALE, SigLIP2
from siglip2.network.text import TextEmbeddings, TextTower
from siglip2.network.transformer import MLP, Attention
from siglip2.network.vision import PoolingAttention, PoolingHead, VisionEmbeddings


def build(config: ModelConfig, *, device: str | torch.device = "cpu") -> SigLIP2:
    """Build on the meta device and fill every tensor with NaN, so that nothing starts as leftover memory."""
    with torch.device("meta"):
        model = SigLIP2(config)
    model.to_empty(device=device)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(float("nan"))
    return model


def build_initialised(config: ModelConfig, *, seed: int = 0, device: str | torch.device = "cpu") -> SigLIP2:
    """A model with fresh weights, the same for the same seed.

    Raises:
        RuntimeError: a tensor was left without initial values.
    """
    model = build(config, device=device)
    init_weights(model, torch.Generator(device=device).manual_seed(seed))
    missed = [name for name, tensor in model.state_dict().items() if tensor.isnan().any()]
    if missed:
        raise RuntimeError(f"tensors left uninitialised: {', '.join(missed)}")
    return model


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Initialise in place (big_vision `models/vit.py`, `text_transformer.py`; flax defaults elsewhere)."""
    for module in model.modules():
        match module:
            case SigLIP2():
                module.logit_scale.fill_(INITIAL_LOG_SCALE)
                module.logit_bias.fill_(INITIAL_BIAS)
            case Attention():
                for linear in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                    _xavier(linear, generator)
            case MLP():
                for linear in (module.fc1, module.fc2):
                    _xavier(linear, generator)
                    linear.bias.normal_(std=1e-6, generator=generator)
            case PoolingAttention():
                # One Xavier per projection: over the fused matrix the limit would be smaller by sqrt(2).
                for part in module.in_proj_weight.chunk(3):
                    nn.init.xavier_uniform_(part, generator=generator)
                module.in_proj_bias.zero_()
                _xavier(module.out_proj, generator)
            case PoolingHead():
                limit = math.sqrt(6 / (1 + module.probe.shape[-1]))
                module.probe.uniform_(-limit, limit, generator=generator)
            case VisionEmbeddings():
                _lecun(module.patch_embedding, generator)
                _normal(module.position_embedding.weight, generator)
            case TextEmbeddings():
                _normal(module.token_embedding.weight, generator)
                _normal(module.position_embedding.weight, generator)
            case TextTower():
                _lecun(module.head, generator)
            case nn.LayerNorm():
                module.weight.fill_(1)
                module.bias.zero_()


def _xavier(linear: nn.Linear, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(linear.weight, generator=generator)
    linear.bias.zero_()


def _lecun(linear: nn.Linear, generator: torch.Generator) -> None:
    # flax cuts its normal at two deviations and divides by what that takes from the deviation.
    std = math.sqrt(1 / linear.in_features) / 0.87962566103423978
    nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
    linear.bias.zero_()


def _normal(table: Tensor, generator: torch.Generator) -> None:
    table.normal_(std=table.shape[-1] ** -0.5, generator=generator)
