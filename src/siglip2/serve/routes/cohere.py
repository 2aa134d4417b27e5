"""`POST /v2/embed`: Cohere's shape."""

import io
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from PIL import Image
from pydantic import ConfigDict, Field

from siglip2.inputs.decode import FORMATS, quiet_pillow
from siglip2.serve.contents import Content, ImageInput, check_counts, parse_content
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import CohereAnswer
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.embeddings import check_dimensions
from siglip2.serve.routes.shapes import as_base64, count, encode, new_id
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["embeddings"])

BITS = {"1": 1, "L": 8, "P": 8, "LA": 16, "I;16": 16, "RGBA": 32, "CMYK": 32}
"""Of a pixel, by Pillow's mode; 24 for the others."""

Kind = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


class EmbedRequest(RequestBody):
    """Texts and images, each kind by itself or mixed in `inputs`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["a cat"], "embedding_types": ["float"]}]}
    )
    model: str | None = None
    input_type: str | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[dict[str, Any]] | None = None
    embedding_types: list[Kind] = Field(["float"], min_length=1)
    output_dimension: int | None = None


@router.post("/v2/embed", response_model=CohereAnswer)
async def embed(body: EmbedRequest, exchange: Annotated[Exchange, Depends(allowed("embed"))]) -> Response:
    """Unit vectors, also as bytes and bits."""
    exchange = exchange.with_model(body.model)
    service = exchange.service
    check_dimensions(body.output_dimension, service.engine.encoder.embed_dim, "output_dimension")
    if sum(part is not None for part in (body.texts, body.images, body.inputs)) != 1:
        raise bad_request("Send exactly one of texts, images and inputs.", "texts", "missing")
    contents: list[Content] = [
        parse_content({"text": text}, f"texts[{i}]") for i, text in enumerate(body.texts or ())
    ]
    contents += [ImageInput(image, f"images[{index}]") for index, image in enumerate(body.images or ())]
    contents += [parse_content(value, f"inputs[{index}]") for index, value in enumerate(body.inputs or ())]
    check_counts(service.settings, contents, "texts" if body.texts is not None else "inputs")

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents)
        numbers = count(contents)
        about = await service.engine.in_decoder(lambda: [_about(file) for file in encoded.files])
        return {
            "id": new_id("embed"),
            "response_type": "embeddings_by_type",
            "embeddings": {kind: _as_kind(encoded.embeddings, kind) for kind in body.embedding_types},
            "texts": body.texts or [],
            "images": about,
            "meta": {
                "api_version": {"version": "2"},
                "billed_units": {"images": numbers["images"], "input_tokens": encoded.text_tokens},
            },
        }

    return await exchange.charged(work, **count(contents))


def _about(file: bytes) -> dict[str, Any]:
    """What an image is, from its header; it has been decoded already."""
    # The formats that decoding allows, and no other of Pillow's readers.
    formats = [name for name in (*FORMATS, "HEIF") if name in Image.OPEN]
    with quiet_pillow(), Image.open(io.BytesIO(file), formats=formats) as image:
        width, height = image.size
        depth = BITS.get(image.mode, 24)
        return {"width": width, "height": height, "format": (image.format or "").lower(), "bit_depth": depth}


def _as_kind(vectors: np.ndarray, kind: Kind) -> list[Any]:
    """(B, E) of unit length in one of Cohere's types; a step of the 8-bit ones is 1/127."""
    if kind == "float":
        return vectors.tolist()
    if kind == "base64":
        return [as_base64(vector) for vector in vectors]
    if kind in ("int8", "uint8"):
        steps = np.clip(np.rint(vectors * 127), -127, 127).astype(np.int16)
        return (steps + 128 if kind == "uint8" else steps).tolist()
    bits = np.packbits(vectors > 0, axis=1)
    return (bits if kind == "ubinary" else bits.astype(np.int16) - 128).tolist()
