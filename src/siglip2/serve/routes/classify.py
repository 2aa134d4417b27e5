"""`POST /v1/classify`: images and candidate labels, in Jina's shape with more in the answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import ImageInput, check_counts, parse_content
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, ClassifyAnswer
from siglip2.serve.routes.bodies import OneOrMany, RequestBody
from siglip2.serve.routes.label_sets import find_label_set
from siglip2.serve.routes.labels import Label, encode_labels, num_prompts, parse_labels, rank
from siglip2.serve.routes.shapes import encode, new_id, now, usage_of
from siglip2.serve.routes.uploads import openapi_body, read_body
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["classify"])


class ClassifyRequest(RequestBody):
    """Which of the labels fit the images."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input": [{"image": PIXEL}],
                    "labels": ["cat", "dog", {"label": "bird", "prompts": ["a photo of a bird"]}],
                }
            ]
        }
    )
    model: str | None = None
    input: OneOrMany = Field(
        description="One image or a list: `{image}`, `{image_url}`, a data URL, base64 or a URL."
    )
    labels: list[str | dict[str, Any]] | None = Field(
        None, description='Labels, or `{"label": ..., "prompts": [...]}` with texts of your own.'
    )
    label_set: str | None = Field(None, description="In the place of labels: a set of `/v1/label_sets`.")
    template: str | None = Field(None, description="With `{label}`, or `plain`, `clip8`, `clip81`.")
    multi_label: bool = Field(False, description="Several labels may hold for one image.")
    threshold: float | None = Field(None, ge=0, le=1, description="Least probability of a label.")
    top_k: int | None = Field(None, ge=1)
    max_num_patches: int | None = Field(None, ge=4, le=4096, description="NaFlex models only.")


@router.post("/v1/classify", response_model=ClassifyAnswer, openapi_extra=openapi_body(ClassifyRequest))
@router.post("/classify", include_in_schema=False)
async def classify(request: Request, exchange: Annotated[Exchange, Depends(allowed("classify"))]) -> Response:
    """Rank labels for images; as JSON, or as a form with image files.

    `score` is the softmax over the labels given (with `multi_label` the probability), `probability` the
    independent sigmoid of `logit`.
    """
    settings = exchange.service.settings
    body, said = await read_body(request, ClassifyRequest, settings, lists=frozenset({"labels"}))
    labels = await _labels(exchange, body)
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    inputs = body.input if isinstance(body.input, list) else [body.input]
    # Only images can be classified, so that a bare string is one.
    contents = [
        parse_content(value, f"input[{index}]", strings_are_images=True) for index, value in enumerate(inputs)
    ]
    check_counts(service.settings, contents, "input")
    for content in contents:
        if not isinstance(content, ImageInput):
            raise bad_request('Only images can be classified: send {"image": ...}.', content.param)

    async def work() -> dict[str, Any]:
        images = await encode(service, contents, max_num_patches=body.max_num_patches)
        vectors, texts = await encode_labels(service, labels)
        rankings = rank(service, images.embeddings, labels, vectors, multi_label=body.multi_label)
        position = {label.name: index for index, label in enumerate(labels)}
        return {
            "id": new_id("classify"),
            "object": "list",
            "created": now(),
            "model": model,
            "score_type": "probability" if body.multi_label else "softmax",
            "data": [_entry(index, ranking, position, body) for index, ranking in enumerate(rankings)],
            "usage": usage_of(images, texts),
        }

    return await exchange.charged(work, images=len(contents), texts=num_prompts(labels), content=said)


async def _labels(exchange: Exchange, body: ClassifyRequest) -> list[Label]:
    """The labels of the request, or of the set that it names."""
    if body.label_set is None:
        if body.labels is None:
            raise bad_request("Field required: labels, or the name of a label_set.", "labels", "missing")
        return parse_labels(exchange.service, body.labels, body.template, "labels")
    if body.labels is not None:
        raise bad_request("Send labels or a label_set, not both.", "label_set")
    account = exchange.caller.account_id
    saved, _ = await find_label_set(exchange.service, account, body.label_set, "label_set")
    return parse_labels(exchange.service, saved["labels"], body.template or saved["template"], "label_set")


def _entry(
    index: int, ranking: list[dict[str, Any]], position: dict[str, int], body: ClassifyRequest
) -> dict[str, Any]:
    probs = [0.0] * len(ranking)
    for prediction in ranking:
        probs[position[prediction["label"]]] = prediction["score"]
    least = body.threshold or 0.0
    holding = [prediction for prediction in ranking if prediction["probability"] >= least]
    best = holding[0] if holding else None
    return {
        "object": "classification",
        "index": index,
        # Nothing, where no label reaches the threshold.
        "prediction": best and best["label"],
        "label": best and best["label"],
        "score": best and best["score"],
        "predictions": holding[: body.top_k],
        "probs": probs,
        "num_classes": len(ranking),
    }
