"""`POST /v1/hf/zero-shot-image-classification`: for `huggingface_hub.InferenceClient`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import ImageInput
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, Prediction
from siglip2.serve.routes.bodies import RequestBody
from siglip2.serve.routes.labels import encode_labels, num_prompts, parse_labels, rank
from siglip2.serve.routes.shapes import encode
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["classify"])


class Parameters(RequestBody):
    """What to look for."""

    candidate_labels: list[str]
    hypothesis_template: str | None = None


class ZeroShotRequest(RequestBody):
    """One image and its candidate labels."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"inputs": PIXEL, "parameters": {"candidate_labels": ["cat", "dog"]}}]
        }
    )
    inputs: str | dict[str, Any] = Field(description="The image in base64 or as a URL.")
    parameters: Parameters


@router.post("/v1/hf/zero-shot-image-classification", response_model=list[Prediction])
async def classify(
    body: ZeroShotRequest, exchange: Annotated[Exchange, Depends(allowed("classify"))]
) -> Response:
    """Labels with their softmax, the best first."""
    exchange = exchange.with_model(None)
    service = exchange.service
    source = body.inputs.get("image") if isinstance(body.inputs, dict) else body.inputs
    if not isinstance(source, str) or not source:
        raise bad_request("The image must be a string: base64 or a URL.", "inputs")
    given = body.parameters
    labels = parse_labels(
        service, given.candidate_labels, given.hypothesis_template, "parameters.candidate_labels"
    )

    async def work() -> list[Any]:
        image = await encode(service, [ImageInput(source, "inputs")])
        vectors, _ = await encode_labels(service, labels)
        return rank(service, image.embeddings, labels, vectors, multi_label=False)[0]

    return await exchange.charged(work, images=1, texts=num_prompts(labels))
