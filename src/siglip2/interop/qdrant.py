"""Points for Qdrant: pictures with their unit vectors. Needs `qdrant-client`."""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

from qdrant_client import models

from siglip2.encoder import Encoder


def vector_parameters(encoder: Encoder) -> models.VectorParams:
    """What a collection has to be made with: the model's width, and the dot product of unit vectors."""
    return models.VectorParams(size=encoder.embed_dim, distance=models.Distance.DOT)


def picture_points(encoder: Encoder, paths: Sequence[str]) -> list[models.PointStruct]:
    """One point for each picture, with `path` in its payload; the same path gives the same point again.

    Raises:
        InvalidImage: one of them cannot be used.
    """
    vectors = encoder.embed_images(paths).tolist()
    return [
        models.PointStruct(id=str(uuid5(NAMESPACE_URL, path)), vector=vector, payload={"path": path})
        for path, vector in zip(paths, vectors, strict=True)
    ]
