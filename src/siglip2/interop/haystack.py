"""The model as a Haystack component that embeds texts. Needs `haystack-ai`."""

from haystack import component

from siglip2.encoder import Encoder


@component
class Siglip2TextEmbedder:
    """Embeds the query of a Haystack pipeline into the space of its pictures."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Unit vector of one text, as `{"embedding": ...}`."""
        return {"embedding": self.encoder.embed_texts([text])[0].tolist()}
