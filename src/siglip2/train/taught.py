"""What a larger model says of a batch."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Embeddings that do not learn.

    Attributes:
        images: (B, W) unit embeddings of this rank's images.
        texts: (T, W) of its texts.
        log_scale: its t.
        bias: its b.
    """

    images: Tensor
    texts: Tensor
    log_scale: Tensor
    bias: Tensor


def part_of(taught: Taught, images: Any, texts: Any) -> Taught:
    """What it says of some images and texts, by anything that indexes rows."""
    return replace(taught, images=taught.images[images], texts=taught.texts[texts])
