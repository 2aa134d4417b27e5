r"""The sigmoid loss block by block, with its gradients formed in the forward pass.

The plain formula keeps a (B, T) matrix of logits for the backward pass, which is what runs out of memory when
the global batch grows. The loss has a closed gradient,

    dL/dlogit_ij = -y_ij sigmoid(-y_ij logit_ij) / B,

so each block of texts adds its part of the loss and of all four gradients and is forgotten. What is saved for
the backward pass is as large as the embeddings, whatever the number of texts seen; nothing is computed twice.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from siglip2.network.precision import without_autocast


class BlockGradients:
    """Loss and gradients of one rank's images against blocks of texts, summed as blocks come.

    Everything is computed in float32, or in float64 where the embeddings are.

    Attributes:
        loss: sum over pairs so far.
        images: (B, E) gradient so far.
        log_scale: gradient of the scale's logarithm so far.
        bias: gradient of the bias so far.
    """

    def __init__(self, images: Float[Tensor, "B E"], log_scale: Tensor, bias: Tensor):
        self._images = _at_least_float32(images)
        self._scale = log_scale.exp().to(self._images.dtype)
        self._bias = bias.to(self._images.dtype)
        self.images = torch.zeros_like(self._images)
        self.loss, self.log_scale, self.bias = self._images.new_zeros(3).unbind()

    def add(
        self,
        texts: Float[Tensor, "T E"],
        image_groups: Int[Tensor, " B"] | Int[Tensor, "B G"],
        text_groups: Int[Tensor, " T"],
        block: int,
    ) -> Float[Tensor, "T E"]:
        """Compare all images with some texts; returns the gradient of these texts."""
        gradient = torch.empty(texts.shape, dtype=self._images.dtype, device=texts.device)
        with without_autocast(texts):
            for start in range(0, len(texts), block):
                part = slice(start, start + block)
                exact = _at_least_float32(texts[part])
                gradient[part] = self._add_block(exact, image_groups, text_groups[part])
        return gradient

    def _add_block(self, texts: Tensor, image_groups: Tensor, text_groups: Tensor) -> Tensor:
        cosine = self._images @ texts.T
        sign = torch.where(same_group(image_groups, text_groups), 1.0, -1.0).to(cosine.dtype)
        signed = sign * (self._scale * cosine + self._bias)
        self.loss = self.loss - F.logsigmoid(signed).sum()
        slope = -sign * torch.sigmoid(-signed)
        self.images.addmm_(slope, texts * self._scale)
        self.log_scale = self.log_scale + (slope * cosine).sum() * self._scale.squeeze()
        self.bias = self.bias + slope.sum()
        return slope.T @ (self._images * self._scale)


class _BlockwiseSigmoidLoss(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        log_scale: Tensor,
        bias: Tensor,
        image_groups: Tensor,
        text_groups: Tensor,
        block: int,
    ) -> Tensor:
        sums = BlockGradients(images, log_scale, bias)
        text_gradient = sums.add(texts, image_groups, text_groups, block)
        save_gradients(ctx, (images, texts, log_scale, bias), sums, text_gradient, len(images))
        return sums.loss / len(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return (*(saved * gradient.to(saved.dtype) for saved in ctx.saved_tensors), None, None, None)


def blockwise_sigmoid_loss(
    images: Float[Tensor, "B E"],
    texts: Float[Tensor, "T E"],
    log_scale: Float[Tensor, "1"],
    bias: Float[Tensor, "1"],
    *,
    image_groups: Int[Tensor, " B"] | Int[Tensor, "B G"] | None = None,
    text_groups: Int[Tensor, " T"] | None = None,
    block: int = 4096,
) -> Float[Tensor, ""]:
    """The sigmoid loss of one process, in memory that does not grow with B times T.

    Args:
        images: unit image embeddings.
        texts: unit text embeddings.
        log_scale: logarithm of the scale, as stored in the model. Never clamped.
        bias: added to every logit.
        image_groups: an image and a text are a pair where their groups are equal; an image may have several.
            None numbers the rows.
        text_groups: see `image_groups`; both or neither are given.
        block: texts compared at a time.

    Raises:
        ValueError: without groups, the numbers of images and texts differ; or one kind of group is missing.
    """
    image_groups, text_groups = row_groups(images, texts, image_groups, text_groups)
    arguments = (images, texts, log_scale, bias, image_groups, text_groups, block)
    return _BlockwiseSigmoidLoss.apply(*arguments)  # type: ignore[return-value]


def same_group(
    image_groups: Int[Tensor, " B"] | Int[Tensor, "B G"], text_groups: Int[Tensor, " T"]
) -> Bool[Tensor, "B T"]:
    """Which images and texts are pairs: those with a group in common."""
    if image_groups.ndim == 1:
        return image_groups[:, None] == text_groups[None, :]
    return (image_groups[:, :, None] == text_groups).any(dim=1)


def row_groups(
    images: Tensor, texts: Tensor, image_groups: Tensor | None, text_groups: Tensor | None, first: int = 0
) -> tuple[Tensor, Tensor]:
    """The groups given, or row numbers starting at `first`."""
    if image_groups is not None and text_groups is not None:
        return image_groups, text_groups
    if image_groups is not None or text_groups is not None:
        raise ValueError("give the groups of both images and texts, or of neither")
    if len(images) != len(texts):
        raise ValueError(
            f"{len(images)} images and {len(texts)} texts need groups to say which belong together"
        )
    rows = torch.arange(first, first + len(images), device=images.device)
    return rows, rows


def save_gradients(
    ctx: Any, inputs: tuple[Tensor, ...], sums: BlockGradients, text_gradient: Tensor, divisor: float
) -> None:
    """Keep the four gradients for the backward pass, each in its input's precision and shape."""
    gradients = (sums.images, text_gradient, sums.log_scale, sums.bias)
    ctx.save_for_backward(
        *(
            (each / divisor).to(value.dtype).reshape(value.shape)
            for each, value in zip(gradients, inputs, strict=True)
        )
    )


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
