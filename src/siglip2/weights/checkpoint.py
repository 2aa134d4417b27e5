"""A model's weights: configuration, canonical tensors, preprocessing, vocabulary."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from siglip2.config import ModelConfig, Preprocessing
from siglip2.weights.shapes import check_shapes, expected_shapes
from siglip2.weights.tensor import DType, StoredTensor


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights with everything that belongs to them.

    Making one compares names and shapes of the tensors with the configuration; no tensor is read for that.

    Attributes:
        config: shape of the model.
        tensors: canonical names (`weights.shapes`) to tensors, which stay in their file until used.
        preprocessing: what the model expects of its inputs.
        tokenizer: `tokenizer.json` or a SentencePiece `.model`; None where the weights have none beside them.
        source: where it came from, for messages.

    Raises:
        InvalidCheckpoint: tensors are missing, left over or of the wrong shape.
    """

    config: ModelConfig
    tensors: Mapping[str, StoredTensor] = field(repr=False)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    tokenizer: Path | None = None
    source: str = "memory"

    def __post_init__(self) -> None:
        found = {name: tensor.shape for name, tensor in self.tensors.items()}
        check_shapes(expected_shapes(self.config), found, self.source)

    @classmethod
    def from_tensors(
        cls,
        config: ModelConfig,
        tensors: Mapping[str, np.ndarray],
        *,
        preprocessing: Preprocessing | None = None,
        tokenizer: Path | None = None,
    ) -> "Checkpoint":
        """Wrap arrays that are in memory, in the types that `StoredTensor.of` takes."""
        return cls(
            config=config,
            tensors={name: StoredTensor.of(np.asarray(tensor)) for name, tensor in tensors.items()},
            preprocessing=preprocessing or Preprocessing(),
            tokenizer=tokenizer,
        )

    @property
    def model_type(self) -> Literal["siglip", "siglip2"]:
        """The `transformers` model type that this shape is written as."""
        return "siglip2" if self.config.vision.naflex else "siglip"

    @property
    def dtype(self) -> DType:
        """Precision of the largest tensor; a file may hold a few small ones in another."""
        return max(self.tensors.values(), key=lambda tensor: tensor.bits.size).dtype

    def cast(self, dtype: DType) -> "Checkpoint":
        """All tensors in one precision; those that have it already stay in their file."""
        tensors = {name: tensor.cast(dtype) for name, tensor in self.tensors.items()}
        return Checkpoint(
            config=self.config,
            tensors=tensors,
            preprocessing=self.preprocessing,
            tokenizer=self.tokenizer,
            source=self.source,
        )

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32. Where the file holds float32, a read-only view of its memory map."""
        return self.tensors[name].float32()

    def rows(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Rows of a tensor as float32, (*indices.shape, ...), without reading the rest."""
        return self.tensors[name].rows(indices)
