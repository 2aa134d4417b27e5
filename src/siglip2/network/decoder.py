"""The captioning decoder of LocCa: text tokens attend to the un-pooled patches (paper Section 2.2).

Same width, heads and MLP as the text tower, half its depth. Used in training only, and not exported.
Source: big_vision `models/proj/cappa/cappa.py` for the block.
The paper does not say: how 27 layers are halved; here they are rounded up to 14.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from siglip2.config import TextConfig
from siglip2.network.attention import attend
from siglip2.network.transformer import MLP, merge_heads, narrow_stream, split_heads


class DecoderAttention(nn.Module):
    """Multi-head attention from one sequence to another, without biases as in CapPa."""

    def __init__(self, width: int, memory_width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(memory_width, width, bias=False)
        self.v_proj = nn.Linear(memory_width, width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "B N M"],
        mask: Bool[Tensor, "B 1 Q N"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Attend from `x` to `memory`; True in the mask is visible."""
        q = split_heads(self.q_proj(x), self.num_heads)
        k, v = (split_heads(proj(memory), self.num_heads) for proj in (self.k_proj, self.v_proj))
        return self.out_proj(merge_heads(attend(q, k, v, mask, changing=True)))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and MLP, each after a norm and added back."""

    def __init__(self, config: TextConfig, memory_width: int, eps: float):
        super().__init__()
        width = config.width
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attn = DecoderAttention(width, width, config.num_heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.cross_attn = DecoderAttention(width, memory_width, config.num_heads)
        self.layer_norm3 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, config.mlp_dim)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "B N M"],
        visible: Bool[Tensor, "B 1 L L"],
        memory_mask: Bool[Tensor, "B 1 1 N"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """One block."""
        normed = self.layer_norm1(x)
        x = x + self.self_attn(normed, normed, visible)
        x = x + self.cross_attn(self.layer_norm2(x), memory, memory_mask)
        return x + self.mlp(self.layer_norm3(x))


class CaptionDecoder(nn.Module):
    """Predicts each token of a target from the patches and, unless in parallel, from the tokens before it."""

    def __init__(self, config: TextConfig, memory_width: int, *, depth: int | None = None, eps: float = 1e-6):
        """Lay it out.

        Args:
            config: of the text tower.
            memory_width: D of the patches.
            depth: number of blocks; half of the text tower's by default.
            eps: of the norms.
        """
        super().__init__()
        self.config = config
        self.mask_id = config.vocab_size  # one row past the vocabulary
        self.token_embedding = nn.Embedding(config.vocab_size + 1, config.width)
        self.position_embedding = nn.Embedding(config.context_length, config.width)
        blocks = depth or (config.depth + 1) // 2
        self.layers = nn.ModuleList(DecoderLayer(config, memory_width, eps) for _ in range(blocks))
        self.final_layer_norm = nn.LayerNorm(config.width, eps=eps)
        self.output = nn.Linear(config.width, config.vocab_size, bias=False)

    def forward(
        self,
        targets: Int[Tensor, "B L"],
        memory: Float[Tensor, "B N M"],
        parallel: Bool[Tensor, " B"],
        memory_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Hidden states from which `output` gives the logits of `targets`, position by position.

        Args:
            targets: what is to be predicted; shifted right by one inside, so that no position sees itself.
            memory: patches of each image.
            parallel: examples whose inputs are all the mask token and whose tokens see each other (CapPa's
                parallel prediction): the patches then carry the whole caption.
            memory_mask: True at real patches.
        """
        length = targets.shape[1]
        inputs = F.pad(targets, (1, 0))[:, :-1].masked_fill(parallel[:, None], self.mask_id)
        x = narrow_stream(self.token_embedding(inputs) + self.position_embedding.weight[:length])
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        visible = causal[None, None] | parallel[:, None, None, None]
        seen = None if memory_mask is None else memory_mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, memory, visible, seen)
        return self.final_layer_norm(x)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Xavier for kernels, N(0, 1) for tokens, zeros for the output (CapPa's)."""
        for name, parameter in self.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name == "output.weight" or name.endswith("bias"):
                parameter.zero_()
            elif name == "token_embedding.weight":
                parameter.normal_(generator=generator)
            elif name == "position_embedding.weight":
                parameter.normal_(std=self.config.width**-0.5, generator=generator)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)
