"""LocCa: captioning, automatic referring expressions and grounded captioning from the patches.

Source: paper Section 2.2; Wan et al. 2024 (arXiv 2403.19596).
The paper does not say: prefixes, order and form of the coordinates. Here, as LocCa describes them: the task's
name, and a box as four whole numbers 0..500, top, left, bottom, right, written as ordinary text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from siglip2.losses.vocabulary import vocabulary_loss
from siglip2.network.decoder import CaptionDecoder

COORDINATE_STEPS = 500
PARALLEL_SHARE = 0.5
"""Of the captions (task Cap) that are predicted in parallel. The other two tasks are always causal."""


@dataclass(frozen=True)
class Region:
    """A box (x0, y0, x1, y1) in shares of the picture, and what it shows."""

    box: tuple[float, float, float, float]
    phrase: str


def caption_target(caption: str) -> str:
    """Of the task Cap."""
    return f"cap: {caption}"


def referring_target(region: Region) -> str:
    """Of the task ARef: from the phrase to the box."""
    return f"aref: {region.phrase} : {written_box(region.box)}"


def grounded_target(region: Region) -> str:
    """Of the task GCap: from the box to the phrase."""
    return f"gcap: {written_box(region.box)} : {region.phrase}"


def written_box(box: Sequence[float]) -> str:
    """Top, left, bottom, right in 500ths."""
    x0, y0, x1, y1 = (round(COORDINATE_STEPS * min(1.0, max(0.0, value))) for value in box)
    return f"{y0} {x0} {y1} {x1}"


def draw_parallel(
    is_caption: Bool[Tensor, " T"], drawn: Float[Tensor, " T"], share: float = PARALLEL_SHARE
) -> Bool[Tensor, " T"]:
    """Which targets are predicted in parallel.

    Args:
        is_caption: True for the task Cap.
        drawn: uniform numbers.
        share: of the captions.
    """
    return is_caption & (drawn < share)


@dataclass(frozen=True, kw_only=True)
class LocCaLoss:
    """Mean token cross-entropy of all targets of a batch.

    Attributes:
        weight: in the sum of losses; the paper has 1.
    """

    weight: float = 1.0

    def __call__(
        self,
        decoder: CaptionDecoder,
        patches: Float[Tensor, "B N D"],
        targets: Int[Tensor, "T L"],
        image_of_target: Int[Tensor, " T"],
        parallel: Bool[Tensor, " T"],
        patch_mask: Bool[Tensor, "B N"] | None = None,
        *,
        count: int | None = None,
    ) -> Float[Tensor, ""]:
        """The loss; targets of absent regions are not among the T, so that they cost nothing.

        Args:
            decoder: reads the patches.
            patches: un-pooled output of the image tower.
            targets: token ids, 0 for padding. The first 0 after the end token is not predicted.
            image_of_target: which image each target is about.
            parallel: targets whose tokens are predicted at once; `draw_parallel`.
            patch_mask: True at real patches.
            count: tokens of this rank's whole batch, where this is a part of it.
        """
        mask = None if patch_mask is None else patch_mask[image_of_target]
        # Its gradient is added up in order; that of indexing is not, where a processor has several threads.
        memory = patches.index_select(0, image_of_target)
        hidden = decoder(targets, memory, parallel, mask)
        real = targets != 0
        return vocabulary_loss(hidden[real], decoder.output.weight, targets[real], count=count)
