"""What every runtime does: turn patches and token ids into unnormalised features."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from siglip2.config import ModelConfig
from siglip2.inputs.batch import ImageBatch

Precision = Literal["auto", "float32", "bfloat16", "int8"]
RuntimeName = Literal["auto", "openvino", "torch"]


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Output of the image tower.

    Attributes:
        pooled: (B, E) float32, output of the attention-pooling head, not normalised.
        patches: (B, N, D) float32 after the last norm and before pooling, or None if not asked for.
            Meaningless at padded positions.
    """

    pooled: np.ndarray
    patches: np.ndarray | None = None


@runtime_checkable
class Runtime(Protocol):
    """Runs the two towers. Safe to call from several threads."""

    name: str
    device: str
    precision: str
    config: ModelConfig

    def encode_images(self, batch: ImageBatch, *, return_patches: bool = False) -> ImageFeatures:
        """Run the image tower."""
        ...

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """Run the text tower on (T, context_length) token ids; (T, E) float32, not normalised."""
        ...

    def prepare_text_tower(self) -> None:
        """Begin to make the text tower ready, where it is not: texts are about to come."""
        ...

    def release_text_tower(self) -> None:
        """Free the text tower's memory; the next texts bring it back from its file."""
        ...
