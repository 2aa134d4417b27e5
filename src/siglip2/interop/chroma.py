"""The model as Chroma's embedding function. Needs `chromadb`."""

from typing import Any

import numpy as np
from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Images
from chromadb.utils.embedding_functions import register_embedding_function

import siglip2
from siglip2.encoder import Encoder


@register_embedding_function
class Siglip2Function(EmbeddingFunction[Documents | Images]):
    """Texts and pictures (arrays, as Chroma's `ImageLoader` gives them) to unit vectors of one space.

    A collection remembers the model's name, and loads it again where it is opened without a function.
    """

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    def __call__(self, input: Documents | Images) -> Embeddings:
        """Unit vectors; one call holds texts or pictures, and not both."""
        texts = [each for each in input if isinstance(each, str)]
        if texts:
            return list(self.encoder.embed_texts(texts))
        return list(self.encoder.embed_images([np.asarray(each) for each in input]))

    @staticmethod
    def name() -> str:
        """What collections know it by."""
        return "siglip2"

    def default_space(self) -> Any:
        """Unit vectors are compared by cosine."""
        return "cosine"

    def get_config(self) -> dict[str, Any]:
        """What `build_from_config` needs."""
        return {"model": self.encoder.model_id}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "Siglip2Function":
        """Load the model that a collection was made with."""
        return Siglip2Function(siglip2.load(config["model"]))
