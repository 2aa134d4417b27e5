"""The names by which code written for timm asks a vision transformer for features."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from siglip2.errors import InvalidInput


class TimmNames(nn.Module):
    """For a tower of whole pictures with `transformers`' interface; meant as in timm."""

    config: Any
    head: nn.Module | None
    post_layernorm: nn.LayerNorm
    num_classes = 0

    @property
    def num_features(self) -> int:
        """Width D of the features."""
        return self.config.hidden_size

    @property
    def embed_dim(self) -> int:
        """As `num_features`."""
        return self.config.hidden_size

    def forward_features(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] to patches (B, N, D) after the last norm."""
        return self(x).last_hidden_state

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Patches from `forward_features` to pooled vectors (B, D).

        Raises:
            InvalidInput: the tower has no pooling head.
        """
        if self.head is None:
            raise InvalidInput("this tower was made without its pooling head (vision_use_head=False)")
        return self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        output_fmt: Literal["NCHW", "NLC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Outputs of blocks.

        Args:
            x: pictures (B, 3, S, S) in [-1, 1].
            indices: which blocks, negative ones from the end; a number for the last so many, None for all.
            norm: also apply the last norm to each.
            output_fmt: `NCHW` for (B, D, h, w), `NLC` for (B, N, D).
            intermediates_only: leave out the features after the last norm.

        Returns:
            The blocks' outputs in order, after the features of `forward_features` unless told otherwise.

        Raises:
            InvalidInput: a block that is not there.
        """
        output = self(x, output_hidden_states=True)
        blocks = output.hidden_states[1:]
        count = len(blocks)
        if indices is None or isinstance(indices, int):
            wanted = list(range(count))[-(count if indices is None else indices) :]
        else:
            wanted = sorted(each % count for each in indices if -count <= each < count)
            if len(wanted) < len(indices):
                raise InvalidInput(f"blocks {list(indices)} of a tower with {count}")
        taken = [self.post_layernorm(blocks[each]) if norm else blocks[each] for each in wanted]
        if output_fmt == "NCHW":
            height, width = (side // self.config.patch_size for side in x.shape[-2:])
            taken = [each.transpose(1, 2).unflatten(2, (height, width)) for each in taken]
        return taken if intermediates_only else (output.last_hidden_state, taken)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Nothing to do for 0 classes: the tower has no classifier.

        Raises:
            InvalidInput: any other number.
        """
        if num_classes:
            raise InvalidInput("this tower gives features; put a linear layer behind them for a classifier")
