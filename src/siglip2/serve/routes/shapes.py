"""Pieces that several answers share."""

import base64
import secrets
import time
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from siglip2.serve.contents import Content, ImageInput, TextInput, parse_content, read_images
from siglip2.serve.meter import count_tokens
from siglip2.serve.service import Service


class Encoded:
    """Contents of a request, embedded in their order.

    Attributes:
        embeddings: (B, E) float32 of unit length.
        tokens: of each: patches of an image, tokens of a text.
        text_tokens: their sum over the texts.
        image_tokens: their sum over the images.
        cached_tokens: of the text tokens those that needed no computation.
        files: the images as they came.
    """

    def __init__(self, width: int, count: int):
        self.embeddings = np.zeros((count, width), np.float32)
        self.tokens = [0] * count
        self.text_tokens = self.image_tokens = self.cached_tokens = 0
        self.files: list[bytes] = []


async def encode(
    service: Service, contents: Sequence[Content], *, max_num_patches: int | None = None
) -> Encoded:
    """Embed the contents of a request, images and texts apart.

    Raises:
        ApiError: of reading or of the engine.
    """
    result = Encoded(service.engine.encoder.embed_dim, len(contents))
    images = [(row, content) for row, content in enumerate(contents) if isinstance(content, ImageInput)]
    texts = [(row, content) for row, content in enumerate(contents) if isinstance(content, TextInput)]
    if images:
        files = await read_images([content for _, content in images], service)
        seen = await service.engine.embed_images(
            files, [content.param for _, content in images], max_num_patches=max_num_patches
        )
        _fill(result, images, seen.embeddings, seen.tokens)
        result.image_tokens = sum(seen.tokens)
        result.files = files
    if texts:
        read = await service.engine.embed_texts([content.text for _, content in texts])
        _fill(result, texts, read.embeddings, read.tokens)
        result.text_tokens, result.cached_tokens = sum(read.tokens), read.cached_tokens
    count_tokens(result.image_tokens + result.text_tokens)
    return result


def parse_list(value: Any, param: str) -> list[Content]:
    """One input or a list of them; vLLM also puts several as the parts of one `content`.

    Raises:
        ApiError: 400, one of them is neither text nor image.
    """
    parts = value.get("content") if isinstance(value, dict) else None
    if isinstance(parts, list):
        return [parse_content(part, f"{param}.content[{index}]") for index, part in enumerate(parts)]
    values = value if isinstance(value, list) else [value]
    return [parse_content(each, f"{param}[{index}]") for index, each in enumerate(values)]


async def encode_texts(service: Service, texts: Sequence[str]) -> Encoded:
    """Embed texts exactly as they stand.

    Raises:
        ApiError: of the engine.
    """
    read = await service.engine.embed_texts(texts)
    result = Encoded(0, 0)
    result.embeddings, result.tokens = read.embeddings, list(read.tokens)
    result.text_tokens, result.cached_tokens = sum(read.tokens), read.cached_tokens
    count_tokens(result.text_tokens)
    return result


def _fill(
    result: Encoded, places: Sequence[tuple[int, Content]], vectors: np.ndarray, tokens: Sequence[int]
) -> None:
    rows = [row for row, _ in places]
    result.embeddings[rows] = vectors
    for row, number in zip(rows, tokens, strict=True):
        result.tokens[row] = number


class Counts(TypedDict):
    """How many images and texts a request holds."""

    images: int
    texts: int


def count(contents: Sequence[Content]) -> Counts:
    """How many images and texts there are, as `Exchange.charged` takes them."""
    images = sum(isinstance(content, ImageInput) for content in contents)
    return {"images": images, "texts": len(contents) - images}


def usage_of(*parts: Encoded) -> dict[str, Any]:
    """OpenAI's `usage`, with its names for the details."""
    text = sum(part.text_tokens for part in parts)
    image = sum(part.image_tokens for part in parts)
    cached = sum(part.cached_tokens for part in parts)
    details = {"text_tokens": text, "image_tokens": image, "cached_tokens": cached}
    return {"prompt_tokens": text + image, "total_tokens": text + image, "prompt_tokens_details": details}


def as_base64(vector: np.ndarray) -> str:
    """Raw little-endian float32, which OpenAI's client asks for by default."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def new_id(prefix: str) -> str:
    """A fresh identifier of an answer."""
    return f"{prefix}-{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
