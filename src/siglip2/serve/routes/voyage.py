"""`POST /v1/multimodalembeddings`: Voyage's shape."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict

from siglip2.serve.contents import ImageInput, check_counts, parse_content
from siglip2.serve.routes.answers import VoyageAnswer
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.embeddings import check_dimensions
from siglip2.serve.routes.shapes import as_base64, count, encode
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["embeddings"])


class MultimodalRequest(RequestBody):
    """Items with one text or image each."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [{"content": [{"type": "text", "text": "a cat"}]}]}]}
    )
    model: str | None = None
    inputs: list[dict[str, Any]]
    output_encoding: Literal["base64"] | None = None
    output_dimension: int | None = None
    output_dtype: Literal["float"] | None = None


@router.post("/v1/multimodalembeddings", response_model=VoyageAnswer)
async def embed(
    body: MultimodalRequest, exchange: Annotated[Exchange, Depends(allowed("embed"))]
) -> Response:
    """Unit vectors of texts and images."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    check_dimensions(body.output_dimension, service.engine.encoder.embed_dim, "output_dimension")
    contents = [parse_content(value, f"inputs[{index}]") for index, value in enumerate(body.inputs)]
    check_counts(service.settings, contents, "inputs")
    patch = service.engine.encoder.checkpoint.config.vision.patch_size

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents)
        rows = [
            as_base64(vector) if body.output_encoding else vector.tolist() for vector in encoded.embeddings
        ]
        images = [t for t, c in zip(encoded.tokens, contents, strict=True) if isinstance(c, ImageInput)]
        return {
            "object": "list",
            "data": [{"object": "embedding", "embedding": row, "index": i} for i, row in enumerate(rows)],
            "model": model,
            "usage": {
                "text_tokens": encoded.text_tokens,
                # As the model sees them, after resizing.
                "image_pixels": sum(images) * patch * patch,
                "video_pixels": 0,
                "total_tokens": encoded.text_tokens + encoded.image_tokens,
            },
        }

    return await exchange.charged(work, **count(contents))
