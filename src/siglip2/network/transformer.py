"""The pre-norm encoder that both towers share (big_vision `models/vit.py`, `Encoder1DBlock`)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from siglip2.kernels.availability import HAS_TRITON
from siglip2.kernels.bias_gelu import bias_gelu
from siglip2.kernels.split_projections import split_projections
from siglip2.network.attention import Segments, attend


class Attention(nn.Module):
    """Multi-head self-attention with biases on all four projections."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B N D"], key_mask: Bool[Tensor, "B N"] | Segments | None = None
    ) -> Float[Tensor, "B N D"]:
        """Attend; `key_mask` is True at the tokens that may be attended to, or says where packed images lie.

        Only keys are masked. Masking queries too, as big_vision does for NaFlex, changes nothing at real
        positions and leaves rows with nothing to attend to, which turn to NaN.
        """
        q, k, v = (split_heads(each, self.num_heads) for each in self._project(x))
        # No mask at all keeps the flash kernel.
        mask = key_mask[:, None, None, :] if isinstance(key_mask, Tensor) else key_mask
        return self.out_proj(merge_heads(attend(q, k, v, mask)))

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        projections = (self.q_proj, self.k_proj, self.v_proj)
        # What LoRA puts in place of a projection is more than its weight.
        if not x.is_cuda or any(type(each) is not nn.Linear for each in projections):
            return tuple(proj(x) for proj in projections)
        # One product in place of three reads the tokens once, which is what takes time on a GPU.
        weight = torch.cat([each.weight for each in projections])
        bias = torch.cat([each.bias for each in projections])
        if has_training_kernels(x):
            return split_projections(F.linear(x, weight, bias.detach()), bias)
        return F.linear(x, weight, bias).chunk(3, dim=-1)


class MLP(nn.Module):
    """Two layers with the tanh approximation of GELU (flax's default)."""

    def __init__(self, width: int, mlp_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(width, mlp_dim)
        self.fc2 = nn.Linear(mlp_dim, width)

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """Apply to the last axis."""
        half = x.dtype in (torch.bfloat16, torch.float16) and x.dtype == self.fc1.weight.dtype
        if x.is_cuda and half and not torch.is_grad_enabled():
            return self.fc2(linear_gelu(x, self.fc1.weight, self.fc1.bias))
        if has_training_kernels(x) and type(self.fc1) is nn.Linear:
            return self.fc2(bias_gelu(F.linear(x, self.fc1.weight), self.fc1.bias))
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class EncoderLayer(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, width: int, mlp_dim: int, num_heads: int, eps: float):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attn = Attention(width, num_heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp_dim)

    def forward(
        self, x: Float[Tensor, "B N D"], key_mask: Bool[Tensor, "B N"] | Segments | None = None
    ) -> Float[Tensor, "B N D"]:
        """One block."""
        x = x + self.self_attn(self.layer_norm1(x), key_mask)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """A stack of blocks; the final norm belongs to the tower. Layers may be deleted from `layers`."""

    def __init__(self, width: int, depth: int, mlp_dim: int, num_heads: int, eps: float):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, mlp_dim, num_heads, eps) for _ in range(depth))
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        key_mask: Bool[Tensor, "B N"] | Segments | None = None,
        intermediates: dict[str, Tensor] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Run all blocks, filling `intermediates` with `block00`, `block01`, ... if given.

        Under autocast the residual stream is as narrow as the products; big_vision keeps float32 for texts.
        """
        x = narrow_stream(x)
        for index, layer in enumerate(self.layers):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, key_mask, use_reentrant=False)  # type: ignore[assignment]
            else:
                x = layer(x, key_mask)
            if intermediates is not None:
                intermediates[f"block{index:02d}"] = x
        return x


@torch.library.custom_op("siglip2::linear_gelu", mutates_args=())
def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer and the tanh approximation of GELU in one kernel (cuBLASLt's), for inference on CUDA.

    The compiler would take the two apart and pass the widest activation through memory once more, so it sees
    one operation. Half precision only; float32 goes through two kernels as elsewhere.
    """
    rows = x.flatten(0, -2)
    out = torch.ops.aten._addmm_activation(bias, rows, weight.T, use_gelu=True)
    return out.view(*x.shape[:-1], -1)


@linear_gelu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


def has_training_kernels(x: Tensor) -> bool:
    """Whether gradients of x are to pass through `siglip2.kernels`: in half precision on a GPU."""
    if not (x.is_cuda and torch.is_grad_enabled() and HAS_TRITON):
        return False
    return product_dtype(x) in (torch.bfloat16, torch.float16)


def narrow_stream(x: Tensor) -> Tensor:
    """A residual stream in the precision that autocast gives to products; as it is without autocast.

    Sums of float32 tables would otherwise carry twice the bytes through every block.
    """
    return x.to(product_dtype(x))


def product_dtype(x: Tensor) -> torch.dtype:
    """Of products with x: autocast's, or its own without autocast."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def split_heads(x: Float[Tensor, "B N D"], num_heads: int) -> Float[Tensor, "B H N K"]:
    """Split the width into heads of K = D / H."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "B H N K"]) -> Float[Tensor, "B N D"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(2)
