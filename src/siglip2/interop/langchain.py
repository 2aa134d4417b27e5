"""The model as LangChain's `Embeddings`, with pictures beside texts. Needs `langchain-core`."""

from collections.abc import Iterable

from langchain_core.embeddings import Embeddings

from siglip2.encoder import Encoder
from siglip2.inputs.sources import ImageSource


class Siglip2Embeddings(Embeddings):
    """Texts and pictures to unit vectors of one space, for LangChain's vector stores.

    A store filled through `embed_image` (as `add_images` does) is searched by words with `embed_query`.
    """

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Unit vectors of texts."""
        return self.encoder.embed_texts(texts).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        """Unit vector of one text; the model treats queries as it does documents."""
        return self.embed_documents([text])[0]

    def embed_image(self, uris: Iterable[ImageSource]) -> list[list[float]]:
        """Unit vectors of pictures, under the name by which LangChain's stores call it.

        Raises:
            InvalidImage: one of them cannot be used.
        """
        return self.encoder.embed_images(uris).tolist()
