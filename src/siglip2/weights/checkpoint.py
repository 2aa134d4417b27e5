"""A model's weights in memory: configuration, canonical tensors, preprocessing, vocabulary."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from siglip2.config import ModelConfig, Preprocessing
from siglip2.errors import InvalidCheckpoint
from siglip2.weights.shapes import expected_shapes
from siglip2.weights.tensor import StoredTensor


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights with everything that belongs to them.

    Attributes:
        config: shape of the model.
        tensors: canonical names (`weights.shapes`) to tensors, read when used.
        preprocessing: what the model expects of its inputs.
        tokenizer: `tokenizer.json` or a SentencePiece `.model`; None where the file has none beside it.
        source: where it came from, for messages.
    """

    config: ModelConfig
    tensors: Mapping[str, StoredTensor]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    tokenizer: Path | None = None
    source: str = "memory"

    def __post_init__(self) -> None:
        check_tensors(self.config, {name: tensor.shape for name, tensor in self.tensors.items()}, self.source)

    @classmethod
    def from_tensors(
        cls, config: ModelConfig, tensors: Mapping[str, np.ndarray], *, tokenizer: Path | None = None
    ) -> "Checkpoint":
        """Wrap arrays that are in memory."""
        stored = {name: StoredTensor.of(np.asarray(tensor)) for name, tensor in tensors.items()}
        return cls(config=config, tensors=stored, tokenizer=tokenizer)

    @property
    def model_type(self) -> Literal["siglip", "siglip2"]:
        """The `transformers` model type that this shape is written as."""
        return "siglip2" if self.config.vision.naflex else "siglip"

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32."""
        return self.tensors[name].float32()

    def rows(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Rows of a tensor as float32, (*indices.shape, ...), without reading the rest."""
        return self.tensors[name].rows(indices)


def check_tensors(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Compare names and shapes with what the configuration asks for.

    Raises:
        InvalidCheckpoint: names every missing, left-over and wrongly shaped tensor (the first twelve of
            each), with the nearest names that are there.
    """
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in shapes]
    extra = [name for name in shapes if name not in expected]
    lines = []
    for name in missing[:12]:
        near = difflib.get_close_matches(name, extra, n=1)
        lines.append(f"  missing {name} {expected[name]}" + (f"; nearest there: {near[0]}" if near else ""))
    lines += [f"  not part of the model: {name} {shapes[name]}" for name in extra[:12]]
    lines += [
        f"  {name} has shape {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != shape
    ][:12]
    if lines:
        counts = f"{len(missing)} missing, {len(extra)} left over"
        raise InvalidCheckpoint(
            f"{source} does not hold the tensors of its configuration ({counts}):\n" + "\n".join(lines)
        )
