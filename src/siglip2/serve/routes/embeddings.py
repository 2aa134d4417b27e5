"""`POST /v1/embeddings`: OpenAI's shape, with images as Jina, Infinity and vLLM send them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import Content, check_counts, parse_content, parse_parts
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, EmbeddingsAnswer
from siglip2.serve.routes.bodies import OneOrMany, RequestBody
from siglip2.serve.routes.shapes import as_base64, count, encode, new_id, now, usage_of
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["embeddings"])

TOKEN_IDS = (
    "Token ids of another model's vocabulary mean nothing here: send texts. With LangChain's "
    "OpenAIEmbeddings set check_embedding_ctx_length=False."
)


class EmbeddingsRequest(RequestBody):
    """Texts and images to embed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["a cat", {"image": PIXEL}]}]})
    model: str | None = None
    input: OneOrMany = Field(None, description="A text, `{text}` or `{image}`, or a list of these.")
    messages: list[dict[str, Any]] | None = Field(None, description="vLLM's form: one message, one vector.")
    modality: Literal["text", "image"] | None = Field(None, description="Infinity's: what strings are.")
    encoding_format: Literal["float", "base64"] = "float"
    embedding_type: Literal["float", "base64"] | None = Field(None, description="Jina's encoding_format.")
    normalized: bool = True
    dimensions: int | None = None
    output_dimension: int | None = Field(None, description="Voyage's dimensions.")
    output_dtype: Literal["float"] | None = Field(None, description="Voyage's types: this one alone.")
    max_num_patches: int | None = Field(None, ge=4, le=4096, description="NaFlex models only.")


@router.post("/v1/embeddings", response_model=EmbeddingsAnswer)
@router.post("/embeddings", include_in_schema=False)
async def embeddings(
    body: EmbeddingsRequest, exchange: Annotated[Exchange, Depends(allowed("embed"))]
) -> Response:
    """Unit vectors of texts and images, in one space."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    width = service.engine.encoder.embed_dim
    check_dimensions(body.dimensions, width, "dimensions")
    check_dimensions(body.output_dimension, width, "output_dimension")
    if not body.normalized:
        raise bad_request("Vectors have unit length here; normalized=false is not offered.", "normalized")
    contents = _contents(body)
    check_counts(service.settings, contents, "input" if body.messages is None else "messages")
    as_text = "base64" in (body.encoding_format, body.embedding_type)

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents, max_num_patches=body.max_num_patches)
        data = [
            {"object": "embedding", "index": index, "embedding": as_base64(row) if as_text else row.tolist()}
            for index, row in enumerate(encoded.embeddings)
        ]
        return {
            "id": new_id("embd"),
            "object": "list",
            "created": now(),
            "model": model,
            "data": data,
            "usage": usage_of(encoded),
        }

    return await exchange.charged(work, **count(contents))


def check_dimensions(dimensions: int | None, width: int, param: str) -> None:
    """Refuse to cut vectors short.

    Raises:
        ApiError: 400, for anything but the model's own width.
    """
    if dimensions not in (None, width):
        raise bad_request(
            f"The vectors have {width} numbers, and the model was not trained to have them cut short.", param
        )


def _contents(body: EmbeddingsRequest) -> list[Content]:
    if body.messages is not None:
        if len(body.messages) != 1:
            raise bad_request("Send one message; each request of this form gives one vector.", "messages")
        content = body.messages[0].get("content")
        place = "messages[0].content"
        if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
            return [parse_parts(content, place)]
        return [parse_content(content, place)]
    if body.input is None:
        raise bad_request("Field required: texts or images to embed.", "input", "missing")
    inputs = body.input if isinstance(body.input, list) else [body.input]
    images = body.modality == "image"
    contents: list[Content] = []
    for index, value in enumerate(inputs):
        if isinstance(value, int) or (isinstance(value, list) and value and isinstance(value[0], int)):
            raise bad_request(TOKEN_IDS, "input")
        place = "input" if value is body.input else f"input[{index}]"
        contents.append(parse_content(value, place, strings_are_images=images))
    return contents
