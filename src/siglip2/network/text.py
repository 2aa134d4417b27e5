"""The text tower: token ids in, one vector per text out.

Padding is attended to and the last position is pooled, so a text must be padded to exactly the context
length: that is part of the released model. The paper (section 2.1) speaks of a pooling head on both towers;
the released text towers have none.
Differs from the paper: last position and a linear head, as the released weights and big_vision
(`models/proj/image_text/text_transformer.py`) have it.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from siglip2.config import TextConfig
from siglip2.network.transformer import Encoder


@dataclass(frozen=True, kw_only=True)
class TextOutput:
    """What the text tower gives.

    Attributes:
        pooled: (T, E) output of the linear head at the last position, not normalised.
        tokens: (T, L, D) after the last norm.
        intermediates: named activations, if they were asked for.
    """

    pooled: Float[Tensor, "T E"]
    tokens: Float[Tensor, "T L D"]
    intermediates: dict[str, Tensor] | None = None


class TextEmbeddings(nn.Module):
    """Token embedding plus learned positions."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.context_length, config.width)

    def forward(self, ids: Int[Tensor, "T L"]) -> Float[Tensor, "T L D"]:
        """Embed ids of exactly the context length."""
        return self.token_embedding(ids) + self.position_embedding.weight


class TextTower(nn.Module):
    """Bidirectional encoder over tokens and padding alike; last position; linear head with bias."""

    def __init__(self, config: TextConfig, embed_dim: int, eps: float = 1e-6):
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config.width, config.depth, config.mlp_dim, config.num_heads, eps)
        self.final_layer_norm = nn.LayerNorm(config.width, eps=eps)
        self.head = nn.Linear(config.width, embed_dim)

    def forward(self, ids: Int[Tensor, "T L"], *, return_intermediates: bool = False) -> TextOutput:
        """Encode token ids.

        Raises:
            ValueError: the ids are not padded to the context length.
        """
        if ids.shape[1] != self.config.context_length:
            raise ValueError(
                f"texts must be padded to {self.config.context_length} tokens, these have {ids.shape[1]}"
            )
        intermediates: dict[str, Tensor] | None = {} if return_intermediates else None
        x = self.embeddings(ids)
        if intermediates is not None:
            intermediates["stem"] = x
        x = self.final_layer_norm(self.encoder(x, None, intermediates))
        pooled = self.head(x[:, -1])
        if intermediates is not None:
            intermediates |= {"tokens": x, "pooled": pooled}
        return TextOutput(pooled=pooled, tokens=x, intermediates=intermediates)
