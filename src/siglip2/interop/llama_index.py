"""The model as LlamaIndex's `MultiModalEmbedding`. Needs `llama-index-core`."""

from typing import Any

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from pydantic import PrivateAttr

from siglip2.encoder import Encoder


class Siglip2Embedding(MultiModalEmbedding):
    """Texts and pictures to unit vectors of one space, for LlamaIndex's indices."""

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder, **settings: Any):
        super().__init__(model_name=encoder.model_id, **settings)
        self._encoder = encoder

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._encoder.embed_texts(texts).tolist()

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[Embedding]:
        return self._encoder.embed_images(img_file_paths).tolist()

    def _get_image_embedding(self, img_file_path: Any) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: Any) -> Embedding:
        return self._get_image_embedding(img_file_path)
