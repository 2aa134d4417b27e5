"""`POST /v1/score`: pairs of texts and images, in vLLM's shape."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from siglip2.serve.contents import check_counts, parse_content
from siglip2.serve.errors import bad_request
from siglip2.serve.routes.answers import PIXEL, ScoreAnswer
from siglip2.serve.routes.bodies import OneOrMany, RequestBody
from siglip2.serve.routes.shapes import count, encode, new_id, now, usage_of
from siglip2.serve.service import Exchange, allowed

router = APIRouter(tags=["score"])


class ScoreRequest(RequestBody):
    """One query against many documents, or as many of both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"queries": "a red car", "documents": [{"image": PIXEL}]}]}
    )
    model: str | None = None
    queries: OneOrMany = Field(None, description="A text or image, or a list.")
    documents: OneOrMany = Field(None, description="A text or image, or a list.")
    text_1: Any = Field(None, description="Older name of `queries`.")
    text_2: Any = Field(None, description="Older name of `documents`.")
    score_type: Literal["probability", "cosine", "logit"] = "probability"


@router.post("/v1/score", response_model=ScoreAnswer)
@router.post("/score", include_in_schema=False)
async def score(body: ScoreRequest, exchange: Annotated[Exchange, Depends(allowed("score"))]) -> Response:
    """How well pairs match."""
    exchange = exchange.with_model(body.model)
    service, model = exchange.service, exchange.service.model
    queries = _listed(body.queries if body.queries is not None else body.text_1, "queries")
    documents = _listed(body.documents if body.documents is not None else body.text_2, "documents")
    if len(queries) not in (1, len(documents)):
        raise bad_request(
            f"{len(queries)} queries and {len(documents)} documents: send one query, or one a document.",
            "queries",
        )
    contents = [*queries, *documents]
    check_counts(service.settings, contents, "documents")

    async def work() -> dict[str, Any]:
        encoded = await encode(service, contents)
        left, right = encoded.embeddings[: len(queries)], encoded.embeddings[len(queries) :]
        cosine = (left * right).sum(axis=1)
        encoder = service.engine.encoder
        logit = encoder.logit_scale * cosine + encoder.logit_bias
        probability = service.engine.probabilities(logit)
        values = {"probability": probability, "cosine": cosine, "logit": logit}[body.score_type]
        return {
            "id": new_id("score"),
            "object": "list",
            "created": now(),
            "model": model,
            "score_type": body.score_type,
            "data": [
                {"index": index, "object": "score", "score": float(value)}
                for index, value in enumerate(values)
            ],
            "usage": usage_of(encoded),
        }

    return await exchange.charged(work, **count(contents))


def _listed(value: Any, param: str) -> list[Any]:
    if value is None:
        raise bad_request("Field required.", param, "missing")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise bad_request("Send at least one.", param, "missing")
    return [parse_content(each, f"{param}[{index}]") for index, each in enumerate(values)]
