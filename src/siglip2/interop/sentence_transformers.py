"""The model as a module of `sentence-transformers` (6 or newer), for texts and pictures."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.modality import is_image_url_or_path
from sentence_transformers.base.modules import InputModule

import siglip2
from siglip2.encoder import Encoder
from siglip2.weights.load import save_checkpoint


class Siglip2Module(InputModule):
    """For `SentenceTransformer(modules=[Siglip2Module(encoder)])`; inference on the encoder's device.

    `encode` takes texts, or pictures (Pillow, arrays, names of picture files) in a call of their own, as the
    library wants it of models without a chat template; `similarity` compares them.
    """

    modalities = ["text", "image"]  # pyright: ignore[reportAssignmentType]  # noqa: RUF012

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tell texts from pictures, of which one batch never holds both; a prompt goes before texts."""
        if isinstance(inputs[0], str) and not is_image_url_or_path(inputs[0]):
            return {"texts": [(prompt or "") + text for text in inputs]}
        return {"pictures": list(inputs)}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Unit vectors, (N, E).

        Raises:
            InvalidImage: one of the pictures cannot be used.
        """
        if "texts" in features:
            vectors = self.encoder.embed_texts(features["texts"])
        else:
            vectors = self.encoder.embed_images(features["pictures"])
        return {**features, "sentence_embedding": torch.from_numpy(vectors)}

    def get_embedding_dimension(self) -> int:
        """E."""
        return self.encoder.embed_dim

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write the model's weights and inputs."""
        save_checkpoint(self.encoder.checkpoint, output_path)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> "Siglip2Module":
        """Read what `save` wrote."""
        return cls(siglip2.load(model_name_or_path))
